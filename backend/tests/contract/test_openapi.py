"""The OpenAPI document promises what is served, completely and in words."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError

from src.api import health
from src.api.problems import Kind
from src.api.v1 import batch, tasks
from src.models.limits import (
    BATCH_MAX_OPERATIONS,
    EARLIEST_DAY,
    LATEST_DAY,
    PAGE_LIMIT_DEFAULT,
    PAGE_LIMIT_MAX,
)
from src.schemas import fields
from src.schemas.changes import ChangesQuery
from src.schemas.examples import EXAMPLES
from src.schemas.problem import PROBLEM_MEDIA_TYPE, Problem
from src.schemas.query import TaskListQuery, TaskSummaryQuery
from src.schemas.task import READ_ONLY, TaskCreate
from src.services import todo_service
from tests.contract import generated

pytestmark = pytest.mark.requirement("FR-034")

DOCUMENT: Final = generated.openapi()
OPERATIONS: Final = {
    operation["operationId"]: operation
    for path in DOCUMENT["paths"].values()
    for operation in path.values()
}
ROUTES: Final = {
    route.name: route
    for module in (tasks, batch, health)
    for route in module.router.routes
    if isinstance(route, APIRoute)
}

SCHEMAS: Final = DOCUMENT["components"]["schemas"]
FIELDS: Final = SCHEMAS["TaskCreate"]["properties"]
TITLE: Final = FIELDS["title"]
TAG: Final = FIELDS["tags"]["items"]

# What is refused before there is an operation that could document it.
OF_NO_OPERATION: Final = {
    "invalid_host",
    "upgrade_not_supported",
    "origin_not_allowed",
    "preflight_refused",
    "route_not_found",
    "method_not_allowed",
}


def parameters(operation: dict[str, Any], place: str) -> dict[str, dict[str, Any]]:
    """Give the schemas of the parameters in this place, by their names."""
    every = operation.get("parameters", ())
    return {found["name"]: found["schema"] for found in every if found["in"] == place}


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """Give every object in a JSON value."""
    children: Iterable[object] = ()
    if isinstance(value, dict):
        yield value
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from nodes(child)


def referred(reference: str) -> Any:
    """Give what a reference within the document leads to."""
    root, *keys = reference.split("/")
    assert root == "#"
    target: Any = DOCUMENT
    for key in keys:
        target = target[key.replace("~1", "/").replace("~0", "~")]
    return target


def answers(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the documented answers of an operation, by their status."""
    return {
        status: referred(answer["$ref"]) if "$ref" in answer else answer
        for status, answer in operation["responses"].items()
    }


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = OPERATIONS[request.param]
    return found


class TestDocument:
    @pytest.mark.requirement("FR-046")
    def test_it_is_committed_as_the_app_generates_it(self) -> None:
        assert generated.OPENAPI.read_text() == generated.openapi_text(), "run `make contract`"

    def test_the_framework_s_own_error_document_is_nowhere_in_it(self) -> None:
        assert "ValidationError" not in json.dumps(DOCUMENT)

    def test_every_reference_resolves(self) -> None:
        assert all(referred(node["$ref"]) for node in nodes(DOCUMENT) if "$ref" in node)

    def test_every_component_is_used(self) -> None:
        used = {node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node}
        assert used == {
            f"#/components/{kind}/{name}"
            for kind, named in DOCUMENT["components"].items()
            for name in named
        }

    def test_no_operation_shares_its_id(self) -> None:
        assert len(OPERATIONS) == sum(len(path) for path in DOCUMENT["paths"].values())


class TestOperation:
    def test_it_is_named_like_its_route_and_like_the_service_that_does_it(
        self, operation: dict[str, Any]
    ) -> None:
        name = operation["operationId"]
        assert any(hasattr(module, name) for module in (tasks, batch, health))
        assert hasattr(todo_service, name) == ("tasks" in operation["tags"])

    def test_it_and_its_parameters_are_told_in_words(self, operation: dict[str, Any]) -> None:
        assert operation["summary"]
        assert operation["description"]
        assert all(found["description"] for found in operation.get("parameters", ()))
        assert all(answer["description"] for answer in answers(operation).values())
        assert "Successful Response" not in json.dumps(operation)

    def test_it_documents_every_problem_that_it_can_give_and_no_other(
        self, operation: dict[str, Any]
    ) -> None:
        is_create = "Idempotency-Key" in parameters(operation, "header")
        is_batch = operation["operationId"] == "apply_batch"
        is_put = {"If-Match", "If-None-Match"} <= {*parameters(operation, "header")}
        can_give = {
            "invalid_request": True,
            "internal_error": True,
            "invalid_json": "requestBody" in operation,
            "request_timeout": "requestBody" in operation,
            "body_too_large": "requestBody" in operation,
            "unsupported_media_type": "requestBody" in operation,
            "task_not_found": "task_id" in parameters(operation, "path"),
            "task_deleted": is_create,
            "list_restarted": operation["operationId"] == "list_changes",
            "batch_failed": is_batch,
            "version_mismatch": "If-Match" in parameters(operation, "header"),
            "task_exists": is_put,
            "database_unavailable": operation["operationId"] != "get_health",
            "outcome_unknown": is_create
            or is_batch
            or "If-Match" in parameters(operation, "header"),
        }
        assert {*can_give} | OF_NO_OPERATION == {kind.code for kind in Kind}

        documented = {
            code: status
            for status, answer in answers(operation).items()
            if status >= "400"
            for code in answer["content"][PROBLEM_MEDIA_TYPE]["examples"]
        }
        assert documented == {
            kind.code: str(kind.status) for kind in Kind if can_give.get(kind.code)
        }

    def test_its_problems_are_of_the_one_media_type(self, operation: dict[str, Any]) -> None:
        for status, answer in answers(operation).items():
            if status >= "400":
                (media_type,) = answer["content"]
                schema = answer["content"][media_type]["schema"]
                assert media_type == PROBLEM_MEDIA_TYPE
                assert schema == {"$ref": "#/components/schemas/Problem"}

    def test_its_answers_are_in_the_order_of_their_status(self, operation: dict[str, Any]) -> None:
        assert [*operation["responses"]] == sorted(operation["responses"])

    def test_every_answer_with_a_body_describes_it(self, operation: dict[str, Any]) -> None:
        for status, answer in answers(operation).items():
            assert ("content" in answer) == (status not in ("204", "304"))

    def test_every_answer_has_the_request_id(self, operation: dict[str, Any]) -> None:
        assert all("X-Request-ID" in answer["headers"] for answer in answers(operation).values())

    def test_a_reader_that_takes_if_none_match_documents_304(
        self, operation: dict[str, Any]
    ) -> None:
        takes_it = "If-None-Match" in parameters(operation, "header")
        assert (takes_it and "requestBody" not in operation) == ("304" in operation["responses"])

    def test_a_text_has_no_default_that_is_none(self, operation: dict[str, Any]) -> None:
        for schema in parameters(operation, "header").values():
            assert isinstance(schema.get("default", ""), str)


class TestProblem:
    EXAMPLES: Final = [
        (status, code, example["value"])
        for operation in OPERATIONS.values()
        for status, answer in answers(operation).items()
        for content in answer.get("content", {}).values()
        for code, example in content.get("examples", {}).items()
    ]

    def test_every_kind_that_an_operation_has_is_shown_as_the_server_answers_it(self) -> None:
        assert {code for _, code, _ in self.EXAMPLES} == {kind.code for kind in Kind} - (
            OF_NO_OPERATION
        )
        titles = {kind.code: kind.title for kind in Kind}
        for status, code, example in self.EXAMPLES:
            problem = Problem.model_validate_json(json.dumps(example))
            assert (str(problem.status), problem.code) == (status, code)
            assert problem.title == titles[code]
            assert problem.request_id in problem.instance
            assert None not in example.values()
            assert ("errors" in example) == (status in ("409", "422"))
            assert ("current" in example) == (status == "412")

    def test_a_named_answer_has_an_example_of_each_kind_in_its_description(self) -> None:
        for answer in DOCUMENT["components"]["responses"].values():
            shown = answer["content"][PROBLEM_MEDIA_TYPE]["examples"]
            assert re.findall(r"\(`(\w+)`\)", answer["description"]) == [*shown]

    def test_its_code_is_one_of_those_that_the_server_knows(self) -> None:
        assert SCHEMAS["Problem"]["properties"]["code"]["enum"] == [kind.code for kind in Kind]

    @pytest.mark.parametrize(
        ("schema", "names"),
        [
            ("Problem", {"errors", "current"}),
            ("Violation", {"pointer", "parameter", "header", "status", "current"}),
        ],
    )
    def test_what_can_be_absent_is_never_null(self, schema: str, names: set[str]) -> None:
        assert {*SCHEMAS[schema]["properties"]} - {*SCHEMAS[schema]["required"]} == names
        for node in nodes(SCHEMAS[schema]):
            assert node.get("type") != "null"
            assert "default" not in node


class TestBodies:
    @pytest.mark.requirement("FR-082")
    def test_a_batch_names_the_kinds_of_its_operations(self) -> None:
        """Generators of clients make a tagged union of that."""
        (operations,) = SCHEMAS["TaskBatch"]["properties"].values()
        mapping = operations["items"]["discriminator"]["mapping"]
        assert operations["maxItems"] == BATCH_MAX_OPERATIONS
        offered = [choice["$ref"] for choice in operations["items"]["oneOf"]]
        assert sorted(offered) == sorted(mapping.values())
        for kind, name in mapping.items():
            schema = referred(name)
            assert next(iter(schema["properties"])) == schema["required"][0] == "op"
            assert schema["properties"]["op"]["const"] == kind
            assert "default" not in json.dumps(schema)

    @pytest.mark.requirement("FR-011")
    @pytest.mark.parametrize("name", ["TaskCreate", "TaskReplace", "TaskUpdate"])
    def test_each_lists_the_writable_fields_in_the_order_of_a_task_and_no_other(
        self, name: str
    ) -> None:
        """PUT and PATCH ignore the read-only ones: generators of clients that flatten path and
        body would have two of `user_id`.
        """
        writable = [field for field in SCHEMAS["Task"]["properties"] if field not in READ_ONLY]
        assert [*SCHEMAS[name]["properties"]] == writable
        assert writable[0] == "title"
        whole = [field for field in writable if field != "position"]
        required = {"TaskCreate": ["title"], "TaskReplace": whole, "TaskUpdate": []}
        assert SCHEMAS[name].get("required", []) == required[name]

    def test_a_new_task_has_its_defaults_in_words(self) -> None:
        """Generators of clients demand a field that has a default: it would always be there."""
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in TaskCreate.model_fields.items()
            if not field.is_required()
        }
        assert len(defaults) == len(FIELDS) - 1
        assert not any("default" in node for node in nodes(SCHEMAS["TaskCreate"]))
        for name, default in defaults.items():
            said = default if isinstance(default, str) else json.dumps(default)
            said = "after all other tasks" if name == "position" else f"`{said}`"
            assert FIELDS[name]["description"].endswith(f" Default: {said}.")

    def test_the_example_of_a_completion_completes(self) -> None:
        assert SCHEMAS["TaskCompletion"]["properties"]["is_completed"]["examples"] == [True]

    def test_the_example_of_a_move_works_for_every_task(self) -> None:
        assert EXAMPLES["TaskMove"] == {"after": None}

    @pytest.mark.parametrize("name", ["TaskCreate", "TaskReplace"])
    def test_the_example_of_a_new_task_leaves_its_place_to_the_server(self, name: str) -> None:
        assert "position" not in EXAMPLES[name]


class TestParameter:
    @pytest.mark.requirement("FR-035")
    def test_each_has_an_example_that_its_description_shows(
        self, operation: dict[str, Any]
    ) -> None:
        """The page of /docs shows descriptions, and no examples of schemas. It shows the example of
        a parameter that it fills in.
        """
        for parameter in operation.get("parameters", ()):
            example = parameter["schema"]["examples"][0]
            text = example if isinstance(example, str) else json.dumps(example)
            is_told = parameter["description"].endswith(f" Example: `{text}`.")
            assert is_told == ("example" not in parameter)

    @pytest.mark.requirement("FR-035")
    def test_only_the_user_is_filled_in(self, operation: dict[str, Any]) -> None:
        """An example of anything else, sent unseen, would be refused or find nothing."""
        filled = {found["name"]: found.get("example") for found in operation.get("parameters", ())}
        assert all((found == "alice") == (name == "user_id") for name, found in filled.items())

    def test_each_of_a_path_or_a_header_has_an_example_that_is_taken(
        self, operation: dict[str, Any]
    ) -> None:
        dependant = ROUTES[operation["operationId"]].dependant
        types = {field.alias: field for field in (*dependant.path_params, *dependant.header_params)}
        for name, field in types.items():
            place = "path" if field in dependant.path_params else "header"
            for example in parameters(operation, place)[name]["examples"]:
                sent = [example] if name in ("If-Match", "If-None-Match") else example
                _, errors = field.validate(sent, {}, loc=(place, name))
                assert not errors

    @pytest.mark.requirement("FR-047")
    @pytest.mark.parametrize(
        ("name", "model"),
        [
            ("list_tasks", TaskListQuery),
            ("list_changes", ChangesQuery),
            ("get_summary", TaskSummaryQuery),
        ],
    )
    def test_each_of_a_query_has_an_example_that_is_taken(
        self, name: str, model: type[BaseModel]
    ) -> None:
        schemas = parameters(OPERATIONS[name], "query")
        examples = {parameter: schema["examples"] for parameter, schema in schemas.items()}
        assert set(examples) == set(model.model_fields)
        for parameter, values in examples.items():
            for value in values:
                model.model_validate({parameter: json.dumps(value).strip('"')})

    @pytest.mark.requirement("FR-047")
    @pytest.mark.parametrize("name", ["list_tasks", "list_changes", "get_summary"])
    def test_none_of_a_query_can_be_null(self, name: str) -> None:
        for schema in parameters(OPERATIONS[name], "query").values():
            assert {"type": "null"} not in schema.get("anyOf", ())
            assert schema.get("default", "") is not None

    @pytest.mark.requirement("FR-047")
    @pytest.mark.parametrize(
        ("name", "text", "is_taken"),
        [
            ("sort", "due,-priority", True),
            ("sort", "-title,created_at,updated_at,due,priority", True),
            ("sort", "--due", False),
            ("sort", "due,", False),
            ("sort", "", False),
            ("priority", "low,high", True),
            ("priority", "Low", False),
            ("tag", "a b", True),
            ("tag", " a ,b", True),
            ("tag", "x" * 50, True),
            ("tag", "x" * 51, False),
            ("tag", ",".join("x" * 20), True),
            ("tag", ",".join("x" * 21), False),
            ("tag", "a,", False),
            ("tag", "a,\x85", False),
            ("tag", "a\0b", False),
            ("q", "\0", False),
            ("q", " ", True),
        ],
    )
    def test_a_text_is_taken_as_its_documented_pattern_says(
        self, name: str, text: str, *, is_taken: bool
    ) -> None:
        schema = parameters(OPERATIONS["list_tasks"], "query")[name]
        assert bool(re.search(schema["pattern"], text)) == is_taken
        with nullcontext() if is_taken else pytest.raises(ValidationError):
            TaskListQuery.model_validate({name: text})

    @pytest.mark.requirement("FR-047", "FR-135")
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("sort", "due,-due"),
            ("sort", "created_at,due,created_at"),
            ("due_before", "2026-"),
            ("due_after", "2026-02-29"),
        ],
    )
    def test_what_no_simple_pattern_can_say_is_refused_all_the_same(
        self, name: str, text: str
    ) -> None:
        schema = parameters(OPERATIONS["list_tasks"], "query")[name]
        assert re.search(schema["pattern"], text)
        with pytest.raises(ValidationError):
            TaskListQuery.model_validate({name: text})

    def test_the_limit_of_a_page_has_its_bounds_in_the_words_of_json_schema(self) -> None:
        limit = parameters(OPERATIONS["list_tasks"], "query")["limit"]
        assert limit["type"] == "integer"
        assert limit["minimum"] == 1
        assert limit["maximum"] == PAGE_LIMIT_MAX
        assert limit["default"] == PAGE_LIMIT_DEFAULT

    @pytest.mark.parametrize(
        "text", ["", " ", "\0", "a\0", "\0b", " \0 ", "\x85", "\u3000\t"], ids=ascii
    )
    def test_a_title_that_is_refused_breaks_the_documented_pattern(self, text: str) -> None:
        for schema in (TITLE, TAG):
            assert not re.search(schema["pattern"], text)

    # The engines that read the patterns differ in what white space is: \x1c, \x85 or \ufeff.
    @pytest.mark.parametrize("text", ["a", " a ", "a\nb", "\ufeff", "\u200b", "\x1c"], ids=ascii)
    def test_a_title_that_is_taken_keeps_the_documented_pattern(self, text: str) -> None:
        TypeAdapter(fields.Title).validate_python(text)
        for schema in (TITLE, TAG):
            assert re.search(schema["pattern"], text)

    @pytest.mark.parametrize("name", ["due_date", "due_at"])
    def test_the_documented_years_are_those_that_are_taken(self, name: str) -> None:
        pattern = FIELDS[name]["anyOf"][0]["pattern"]
        years = [year for year in range(10_000) if re.search(pattern, f"{year:04}-01-01")]
        assert years == list(range(EARLIEST_DAY.year, LATEST_DAY.year + 1))
