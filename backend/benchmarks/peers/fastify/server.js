// Fastify with node-postgres, as their documentation teaches it: the pool of @fastify/postgres,
// parametrised queries, and a schema on every route, so that fast-json-stringify writes the answers.

import { randomUUID } from 'node:crypto'
import postgres from '@fastify/postgres'
import Fastify from 'fastify'

const COLUMNS = `id, user_id, title, description, is_completed, completed_at, priority, due_date,
  due_at, tags, position, version, created_at, updated_at`

const instant = { type: 'string', format: 'date-time' }
const task = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    user_id: { type: 'string' },
    title: { type: 'string' },
    description: { type: 'string', nullable: true },
    is_completed: { type: 'boolean' },
    completed_at: { ...instant, nullable: true },
    priority: { type: 'string' },
    due_date: { type: 'string', format: 'date', nullable: true },
    due_at: { ...instant, nullable: true },
    tags: { type: 'array', items: { type: 'string' } },
    position: { type: 'string' },
    version: { type: 'integer' },
    created_at: instant,
    updated_at: instant
  }
}
const title = { type: 'string', minLength: 1, maxLength: 255 }
const description = { type: 'string', nullable: true, maxLength: 2000 }
const user = { type: 'object', properties: { userId: { type: 'string' } } }
const userTask = {
  type: 'object',
  properties: { userId: { type: 'string' }, taskId: { type: 'string', format: 'uuid' } }
}

const fastify = Fastify()
fastify.register(postgres, { connectionString: process.env.DATABASE_URL, max: 8 })

async function oneTask (reply, text, values) {
  const { rows } = await fastify.pg.query(text, values)
  if (rows.length === 0) return reply.code(404).send({ detail: 'Task not found' })
  return rows[0]
}

fastify.get('/api/v1/:userId/tasks', {
  schema: {
    params: user,
    querystring: {
      type: 'object',
      properties: { limit: { type: 'integer', minimum: 1, maximum: 1000, default: 50 } }
    },
    response: {
      200: { type: 'object', properties: { items: { type: 'array', items: task } } }
    }
  }
}, async (request) => {
  const { rows } = await fastify.pg.query(
    `SELECT ${COLUMNS} FROM tasks WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2`,
    [request.params.userId, request.query.limit]
  )
  return { items: rows }
})

fastify.get('/api/v1/:userId/tasks/:taskId', {
  schema: { params: userTask, response: { 200: task } }
}, (request, reply) => oneTask(
  reply,
  `SELECT ${COLUMNS} FROM tasks WHERE user_id = $1 AND id = $2`,
  [request.params.userId, request.params.taskId]
))

fastify.post('/api/v1/:userId/tasks', {
  schema: {
    params: user,
    body: { type: 'object', required: ['title'], properties: { title, description } },
    response: { 201: task }
  }
}, (request, reply) => {
  reply.code(201)
  return oneTask(
    reply,
    `INSERT INTO tasks (user_id, id, title, description, is_completed, priority, tags, version,
       created_at, updated_at)
     VALUES ($1, $2, $3, $4, false, 'none', '{}', 1, now(), now()) RETURNING ${COLUMNS}`,
    [request.params.userId, randomUUID(), request.body.title, request.body.description ?? null]
  )
})

fastify.patch('/api/v1/:userId/tasks/:taskId', {
  schema: {
    params: userTask,
    body: { type: 'object', properties: { title, description } },
    response: { 200: task }
  }
}, (request, reply) => oneTask(
  reply,
  `UPDATE tasks SET title = coalesce($3, title),
     description = CASE WHEN $4 THEN $5 ELSE description END, updated_at = now()
   WHERE user_id = $1 AND id = $2 RETURNING ${COLUMNS}`,
  [request.params.userId, request.params.taskId, request.body.title,
    'description' in request.body, request.body.description]
))

fastify.patch('/api/v1/:userId/tasks/:taskId/complete', {
  schema: {
    params: userTask,
    body: {
      type: 'object',
      required: ['is_completed'],
      properties: { is_completed: { type: 'boolean' } }
    },
    response: { 200: task }
  }
}, (request, reply) => oneTask(
  reply,
  `UPDATE tasks SET is_completed = $3, updated_at = now(),
     completed_at = CASE WHEN $3 THEN coalesce(completed_at, now()) END
   WHERE user_id = $1 AND id = $2 RETURNING ${COLUMNS}`,
  [request.params.userId, request.params.taskId, request.body.is_completed]
))

await fastify.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
