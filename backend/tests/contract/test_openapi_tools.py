"""Tools that read the OpenAPI document, of any language, find nothing that they stumble over."""

import json
import re
import subprocess
from typing import Annotated, Any, Final

import httpx
import pytest
import re2  # type: ignore[import-untyped]  # it has no types
from pydantic import StringConstraints, TypeAdapter

from src.api import health
from src.schemas import batch, changes, task
from src.schemas.examples import EXAMPLES
from tests.contract import generated
from tests.contract.test_clients import NODE
from tests.contract.test_openapi import DOCUMENT, OPERATIONS, SCHEMAS, answers, nodes

COMMON: Final = {"title", "description", "examples"}
KEYWORDS: Final = {
    "object": {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"enum", "const", "format", "pattern", "minLength", "maxLength", "default"},
    "integer": {"minimum", "maximum", "default"},
    "boolean": {"default"},
    "null": set(),
}
"""The words of JSON Schema that the document has, by the type that they speak of."""

SCHEMAS_OF_HEADERS: Final = [
    header["schema"]
    for operation in OPERATIONS.values()
    for answer in answers(operation).values()
    for header in answer["headers"].values()
]
SCHEMAS_OF_PARAMETERS: Final = [
    parameter["schema"]
    for operation in OPERATIONS.values()
    for parameter in operation.get("parameters", ())
]
PATTERNS: Final = sorted(
    {node["pattern"] for node in nodes(DOCUMENT) if isinstance(node.get("pattern"), str)}
)
BODIES: Final = [
    (name, content)
    for operation in OPERATIONS.values()
    for body in (operation.get("requestBody", {}), *answers(operation).values())
    for media_type, content in body.get("content", {}).items()
    if media_type != "application/problem+json"
    for name in [content["schema"]["$ref"].rpartition("/")[2]]
]


def check_schema(schema: dict[str, Any]) -> None:
    """Accept only what all generators of clients understand."""
    children = [*schema.get("properties", {}).values()]
    if "$ref" in schema:
        allowed = {"$ref"}
    elif "anyOf" in schema:  # only this: something, or null
        allowed = {"anyOf"}
        children += schema["anyOf"]
        assert children[-1] == {"type": "null"}
        assert len(children) == 2
    elif "oneOf" in schema:  # only this: one of the kinds that a field names
        allowed = {"oneOf", "discriminator"}
        assert {*schema} == allowed
        children += schema["oneOf"]
    else:
        allowed = KEYWORDS[schema["type"]] | {"type"}
        children += [schema["items"]] if "items" in schema else []
    assert {*schema} <= allowed | COMMON
    for child in children:
        check_schema(child)


@pytest.mark.requirement("FR-134")
class TestSchemas:
    @pytest.mark.parametrize("name", SCHEMAS)
    def test_each_has_only_words_that_every_generator_of_clients_knows(self, name: str) -> None:
        """A `not` or an `if` at its root becomes a class of its own, and a `maxLength` says nothing
        of an array.
        """
        check_schema(SCHEMAS[name])
        assert SCHEMAS[name]["type"] in ("object", "string")

    def test_so_do_parameters_and_headers(self) -> None:
        for schema in (*SCHEMAS_OF_PARAMETERS, *SCHEMAS_OF_HEADERS):
            check_schema(schema)
            assert schema["type"] in ("string", "integer", "boolean")
            assert "const" not in schema, "openapi-python-client drops the operation"

    def test_the_priority_is_one_type_for_all_that_have_it(self) -> None:
        fields = [
            schema["properties"]["priority"]
            for schema in SCHEMAS.values()
            if "priority" in schema.get("properties", {})
        ]
        assert len(fields) == 4
        assert {field["$ref"] for field in fields} == {"#/components/schemas/Priority"}

    def test_the_filter_by_priority_lists_its_values(self) -> None:
        (found,) = (
            parameter["description"]
            for parameter in OPERATIONS["list_tasks"]["parameters"]
            if parameter["name"] == "priority"
        )
        assert re.findall(r"`(\w+)`", found) == SCHEMAS["Priority"]["enum"]

    def test_the_codes_of_violations_are_those_that_the_server_gives(self) -> None:
        of_operations = {"task_not_found", "task_deleted", "version_mismatch", "task_exists"}
        assert SCHEMAS["Violation"]["properties"]["code"]["enum"] == sorted(
            {*generated.violations()} - {"{code}"} | of_operations
        )

    def test_completing_says_first_what_to_send(self) -> None:
        """Without a body, the call reopens a completed task."""
        description = OPERATIONS["complete_task"]["description"]
        assert description.startswith('Send `{"is_completed": true}` to complete a task')


@pytest.mark.requirement("FR-135")
class TestPatterns:
    @pytest.mark.parametrize("pattern", PATTERNS, ids=range(len(PATTERNS)))
    def test_each_is_read_by_the_engines_of_go_and_rust(self, pattern: str) -> None:
        re2.compile(pattern)
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])  # pydantic's is Rust's
        assert "\\s" not in pattern, "each engine has white space of its own"

    def test_all_are_read_by_the_engine_of_javascript(self) -> None:
        program = "JSON.parse(process.argv[1]).forEach((pattern) => new RegExp(pattern, 'u'))"
        subprocess.run([NODE, "-e", program, json.dumps(PATTERNS)], check=True)

    @pytest.mark.parametrize("text", ["", "\0", "a\0", "\u3000\t", "a", " a ", "\ufeff", "\x1c"])
    def test_they_read_it_alike(self, text: str) -> None:
        pattern = SCHEMAS["TaskCreate"]["properties"]["title"]["pattern"]
        assert bool(re2.search(pattern, text)) == bool(re.search(pattern, text))


@pytest.mark.requirement("FR-136")
class TestAbout:
    def test_it_says_where_the_api_is_who_makes_it_and_under_which_license(self) -> None:
        assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]
        assert DOCUMENT["info"]["contact"] == {"name": "The Task API authors"}
        assert DOCUMENT["info"]["license"] == {"name": "MIT License", "identifier": "MIT"}

    def test_it_says_that_there_is_no_authentication(self) -> None:
        assert DOCUMENT["security"] == []
        assert "There is no authentication yet" in DOCUMENT["info"]["description"]

    def test_each_group_of_operations_is_described(self) -> None:
        assert all(tag["description"] for tag in DOCUMENT["tags"])


@pytest.mark.requirement("FR-137")
class TestExamples:
    def test_each_body_has_one_and_no_other_has(self) -> None:
        assert all(content["example"] == EXAMPLES[name] for name, content in BODIES)
        assert {name for name, _ in BODIES} == {*EXAMPLES}

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_each_is_of_its_schema(self, name: str) -> None:
        models = [getattr(module, name, None) for module in (task, batch, changes, health)]
        (model,) = {found for found in models if found is not None}
        model.model_validate_json(json.dumps(EXAMPLES[name]))
        if name in ("Task", "TaskReplace", "TaskPage", "TaskChanges", "TaskSummary"):
            assert {*EXAMPLES[name]} | {"position"} == {*model.model_fields} | {"position"}

    @pytest.mark.anyio
    async def test_each_can_be_sent_as_it_is_and_again(
        self, client: httpx.AsyncClient, user: str
    ) -> None:
        tasks = f"/api/v1/{user}/tasks"
        for _ in range(2):
            created = await client.post(tasks, json=EXAMPLES["TaskCreate"])
            path = created.headers["Location"]
            sent = [
                await client.put(path, json=EXAMPLES["TaskReplace"]),
                await client.patch(path, json=EXAMPLES["TaskUpdate"]),
                await client.patch(f"{path}/complete", json=EXAMPLES["TaskCompletion"]),
                await client.post(f"{path}/move", json=EXAMPLES["TaskMove"]),
                await client.post(f"{tasks}/batch", json=EXAMPLES["TaskBatch"]),
            ]
            assert created.status_code == 201
            assert [answer.status_code for answer in sent] == [200] * 5
            assert created.json()["priority"] == EXAMPLES["TaskCreate"]["priority"]
