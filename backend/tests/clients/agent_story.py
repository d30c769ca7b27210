"""What an AI agent does with the tools that FastMCP makes of the API.

`tasks_server` is the program in `clients.md`.
It prints the tools with the schemas of their arguments, and what the agent reads after a mistake.
"""

import asyncio
import json
import sys
from uuid import uuid4

from fastmcp import Client
from tasks_server import tasks

USER = f"agent-{uuid4()}"


async def main() -> None:
    async with Client(tasks) as agent:
        tools = {tool.name: tool.input_schema for tool in await agent.list_tools()}

        async def call(tool: str, **arguments: object) -> dict:
            result = await agent.call_tool(tool, {"user_id": USER, **arguments})
            return result.structured_content

        created = await call("create_task", title="Buy milk", priority="high")
        task_id = created["id"]
        assert (await call("list_tasks", priority="high"))["items"] == [created]
        updated = await call("update_task", task_id=task_id, due_date="2026-12-24")
        assert (updated["title"], updated["due_date"]) == ("Buy milk", "2026-12-24")
        cleared = await call("update_task", task_id=task_id, due_date=None)
        assert cleared["due_date"] is None
        completed = await call("complete_task", task_id=task_id, is_completed=True)
        assert completed["is_completed"]
        await call("delete_task", task_id=task_id)
        assert (await call("list_tasks"))["items"] == []
        refused = await agent.call_tool(
            "create_task", {"user_id": USER, "title": ""}, raise_on_error=False
        )
        assert refused.is_error
        # What an agent reads when it makes a mistake.
        explanation = refused.content[0].text
    json.dump({"tools": tools, "explanation": explanation}, sys.stdout)


asyncio.run(main())
