/** A day with the client of openapi-fetch and the types that openapi-typescript generates:
 * `node typescript_story.mts URL`. The types are checked before, by `tsc`.
 */
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./task-api.ts";

type Task = components["schemas"]["Task"];

const { GET, POST, PUT, PATCH, DELETE } = createClient<paths>({ baseUrl: process.argv[2] });
const user = { user_id: `typescript-${crypto.randomUUID()}` };
const list = "/api/v1/{user_id}/tasks";
const one = "/api/v1/{user_id}/tasks/{task_id}";
const json = { "Content-Type": "application/json" };

async function titles(query: NonNullable<paths[typeof list]["get"]["parameters"]["query"]>) {
  const { data } = await GET(list, { params: { path: user, query } });
  return data!.items.map((task) => task.title);
}

// Create, and send it again after a lost answer.
const milk = {
  params: { path: user, header: { "Idempotency-Key": "key-1" } },
  body: { title: "Buy milk", priority: "high", due_date: "2026-12-24", tags: ["shopping"] },
} as const satisfies { body: components["schemas"]["TaskCreate"]; params: object };
const first = await POST(list, { ...milk, body: { ...milk.body, tags: [...milk.body.tags] } });
const second = await POST(list, { ...milk, body: { ...milk.body, tags: [...milk.body.tags] } });
assert.deepEqual([first.response.status, second.response.status], [201, 200]);
assert.equal(second.response.headers.get("Idempotency-Replayed"), "true");
const task: Task = first.data!;
assert.deepEqual(second.data, task);
for (const title of ["Call the dentist", "Água"]) {
  await POST(list, { params: { path: user }, body: { title } });
}

// Read page by page, and with filters.
const pages: string[][] = [];
let cursor: string | null | undefined;
while (cursor !== null) {
  const query = { limit: 2, include_total: true, ...(cursor && { cursor }) };
  const { data } = await GET(list, { params: { path: user, query } });
  assert.equal(data!.total, 3);
  pages.push(data!.items.map((item) => item.title));
  cursor = data!.next_cursor;
}
assert.deepEqual(pages, [["Água", "Call the dentist"], ["Buy milk"]]);
const filtered = { priority: "medium,high", due_before: "2027-01-01", is_completed: false };
assert.deepEqual(await titles(filtered), ["Buy milk"]);
assert.deepEqual(await titles({ q: "água", created_after: task.created_at }), ["Água"]);
assert.deepEqual(await titles({ sort: "title", tag: "shopping" }), ["Buy milk"]);

// A mistake is a problem that names the field.
const wrong = await POST(list, { params: { path: user }, body: { title: " " } });
assert.equal(wrong.error!.code, "invalid_request");
const [violation] = wrong.error!.errors!;
assert.deepEqual([violation!.pointer, violation!.code], ["/title", "too_short"]);

// Clear a field, and keep the others.
const path = { ...user, task_id: task.id };
const changed = (
  await PATCH(one, { params: { path }, headers: json, body: { due_date: null } })
).data!;
assert.deepEqual([changed.due_date, changed.title], [null, task.title]);

// Do not overwrite what was not seen.
const stale = { path, header: { "If-Match": `"${task.version}"` } };
const mismatch = await PATCH(one, { params: stale, headers: json, body: { title: "Stale" } });
assert.equal(mismatch.error!.code, "version_mismatch");
assert.deepEqual(mismatch.error!.current, changed);

// Replace, and create under an own id, once.
const { description, is_completed, priority, due_at, tags } = changed;
const body = {
  ...{ description, is_completed, priority, due_at, tags },
  title: "Buy oat milk",
  due_date: task.due_date,
};
const seen = { path, header: { "If-Match": `"${changed.version}"` } };
const replaced = await PUT(one, { params: seen, body });
assert.deepEqual([replaced.data!.title, replaced.data!.due_date], [body.title, task.due_date]);
const own = { ...user, task_id: crypto.randomUUID() };
const anew = { params: { path: own, header: { "If-None-Match": "*" as const } }, body };
const created = [await PUT(one, anew), await PUT(one, anew)];
assert.deepEqual(created.map(({ response }) => response.status), [201, 412]);
assert.deepEqual(created[1]!.error!.current, created[0]!.data);

// Complete and move.
const complete = "/api/v1/{user_id}/tasks/{task_id}/complete";
const move = "/api/v1/{user_id}/tasks/{task_id}/move";
const done = await PATCH(complete, { params: { path: own }, body: { is_completed: true } });
assert.equal(done.data!.completed_at, done.data!.updated_at);
await POST(move, { params: { path: own }, body: { after: null } });
assert.equal((await titles({ sort: "position" }))[0], body.title);
const after = await POST(move, { params: { path: own }, body: { after: task.id } });
assert.equal(after.data!.id, own.task_id);

// What has happened so far.
const changesPath = "/api/v1/{user_id}/tasks/changes";
const changes = (await GET(changesPath, { params: { path: user } })).data!;
assert.deepEqual([changes.changed.length, changes.deleted, changes.has_more], [4, [], false]);

// Several changes at once: all of them, or none.
const id = crypto.randomUUID();
const operations: components["schemas"]["TaskBatch"]["operations"] = [
  { op: "create", id, task: { title: "In a batch" } },
  { op: "update", id, changes: { priority: "low" } },
  { op: "complete", id, is_completed: true },
  { op: "move", id, before: null },
  { op: "delete", id: own.task_id },
];
const batch = "/api/v1/{user_id}/tasks/batch";
const { results } = (await POST(batch, { params: { path: user }, body: { operations } })).data!;
assert.deepEqual(
  results.map(({ op }) => op),
  operations.map(({ op }) => op),
);
assert.deepEqual([results[3]!.task!.priority, results[4]!.deleted!.id], ["low", own.task_id]);
operations.push({ op: "complete", id: crypto.randomUUID(), is_completed: true });
const failed = await POST(batch, { params: { path: user }, body: { operations } });
assert.equal(failed.error!.code, "batch_failed");
const last = failed.error!.errors!.at(-1)!;
assert.deepEqual([last.pointer, last.code, last.status], ["/operations/5", "task_not_found", 404]);

// Delete, and ask what happened since.
assert.equal((await DELETE(one, { params: { path } })).response.status, 204);
assert.equal((await GET(one, { params: { path } })).error!.code, "task_not_found");
const query = { since: changes.next };
const since = (await GET(changesPath, { params: { path: user, query } })).data!;
assert.deepEqual(since.changed.map((each) => each.id), [id]);
assert.deepEqual(
  new Set(since.deleted.map((each) => each.id)),
  new Set([own.task_id, task.id]),
);
