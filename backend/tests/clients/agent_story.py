"""What an AI agent does with the tools that FastMCP makes of the API.

`tasks_server` is the program in `clients.md`.
It prints the tools with the schemas of their arguments, and what the agent reads after a mistake.
"""

import asyncio
import json
import logging
import sys
from uuid import uuid4

from fastmcp import Client
from tasks_server import tasks

logging.getLogger("fastmcp").setLevel("ERROR")  # it warns of mistakes, which are on purpose
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

        async def mistake(tool: str, **arguments: object) -> str:
            """Give what an agent reads when it makes a mistake."""
            arguments["user_id"] = USER
            refused = await agent.call_tool(tool, arguments, raise_on_error=False)
            assert refused.is_error
            return refused.content[0].text

        explanations = [
            await mistake("create_task", title="Pay", prio="high"),
            await mistake("list_tasks", status="open"),
            await mistake("create_task", title=" "),
        ]
    json.dump({"tools": tools, "explanations": explanations}, sys.stdout)


asyncio.run(main())
