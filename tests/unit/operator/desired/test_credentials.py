"""Passwords: made once, kept in a record of what is in force, given back when a Secret is deleted, never guessed."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.credentials import secrets_are_in_force
from appstack_operator.assess.stack import assess_stack
from appstack_operator.assess.verdict import Reason
from appstack_operator.desired.credentials import (
    CONTROLLERS,
    PLACES,
    build_credentials,
    build_record,
    edited_credentials,
    known_credentials,
    lost_credentials,
    names_in_use,
    names_of_credentials,
    usable_edits,
)
from appstack_operator.desired.stack import build_stack
from appstack_operator.gates import Gates, set_gates
from appstack_operator.objects import labels
from appstack_operator.plan import Action, Verb, plan
from tests.unit.operator.factories import a_context, a_pod, a_stack, made, observed

if TYPE_CHECKING:
    from appstack_operator.objects import Object
    from appstack_operator.observed import Observed

STACK = a_stack()
CONTEXT = a_context()
FRESH = replace(CONTEXT.credentials, **dict.fromkeys(CONTEXT.credentials.__dataclass_fields__, "fresh"))
SECRETS = [made(STACK, each) for each in build_credentials(STACK, CONTEXT)]
RECORD = made(STACK, build_record(STACK, CONTEXT, SECRETS)[0])


def look(
    *, without: str = "", record: bool = True, edited: str = "", key: str = "password", value: bytes = b"other"
) -> Observed:
    """All Secrets; one of them deleted, or with another password."""
    secrets: list[Object] = []
    for secret in SECRETS:
        name = secret["metadata"]["name"]
        data = {**secret["data"], key: base64.b64encode(value).decode()} if name == edited else secret["data"]
        if name != without:
            secrets.append({**secret, "data": data})
    return observed(*secrets, *([RECORD] if record else []))


def credential_actions(seen: Observed, in_force: Any = None) -> list[Action]:
    context = replace(CONTEXT, credentials=in_force or known_credentials(STACK, seen, FRESH))
    actions = plan(STACK, build_stack(STACK, context), seen, Gates())
    return [each for each in actions if each.target.kind == "Secret" and not each.target.name.endswith("-env")]


SETS = [made(STACK, each.manifest) for each in build_stack(STACK, CONTEXT) if each.manifest["kind"] == "StatefulSet"]
OF_POSTGRES = {"postgres_app", "postgres_superuser", "postgres_replication", "postgres_rest"}


def claim(component: str, *, manager: str = CONTROLLERS, **more: Any) -> Object:
    """The claim of a member, labelled by this manager."""
    meta = {"name": f"data-shop-{component}-0", "labels": labels(STACK, component)}
    entry = {"manager": manager, "fieldsV1": {"f:metadata": {"f:labels": {f"f:{each}": {} for each in meta["labels"]}}}}
    return {"kind": "PersistentVolumeClaim", "metadata": {**meta, "managedFields": [entry], **more}}


@pytest.mark.parametrize(
    ("objects", "spec", "lost"),
    [
        pytest.param([], {}, set(), id="a new stack"),
        pytest.param(SETS, {}, PLACES.keys() - {"api_token"}, id="all Secrets of what runs"),
        pytest.param([*SETS, RECORD], {}, set(), id="the copy is left"),
        pytest.param([*SETS, *SECRETS], {}, set(), id="the Secrets are left"),
        pytest.param(SETS[:1], {}, OF_POSTGRES, id="only PostgreSQL was begun"),
        pytest.param([claim("rabbitmq")], {}, {"rabbitmq", "rabbitmq_erlang_cookie"}, id="RabbitMQ's volume is left"),
        pytest.param([claim("postgres")], {}, OF_POSTGRES, id="PostgreSQL's volume is left"),
        pytest.param([claim("redis")], {}, set(), id="Redis' volume knows no password"),
        pytest.param([claim("rabbitmq", manager="kubectl")], {}, set(), id="a volume that is given to the stack"),
        pytest.param([claim("rabbitmq", deletionTimestamp="now")], {}, set(), id="a former stack's volume that goes"),
        pytest.param([claim("rabbitmq"), RECORD], {}, set(), id="RabbitMQ's volume, and the copy"),
        pytest.param(SETS, {"postgres": {"mode": "External", "external": {"secretName": "theirs"}}},
                     PLACES.keys() - OF_POSTGRES - {"api_token"}, id="PostgreSQL is somebody else's"),
    ],
)  # fmt: skip
def test_passwords_are_lost_where_a_service_was_given_them_and_neither_place_holds_them(
    objects: list[Object], spec: dict[str, Any], lost: set[str]
) -> None:
    assert lost_credentials(a_stack(**spec), observed(*objects)) == lost


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"backend": {"image": "shop:1"}},
        {"redis": {"mode": "External", "external": {"secretName": "theirs"}}},
        {"postgres": {"mode": "External", "external": {"secretName": "theirs"}}, "backend": {"image": "shop:1"}},
    ],
    ids=["the bundled image", "an image of one's own", "somebody else's Redis", "no PostgreSQL"],
)
def test_the_secrets_in_use_are_those_that_are_made(spec: dict[str, Any]) -> None:
    """Each other name would be a question to the API server in every pass."""
    stack = a_stack(**spec)
    made = {each["metadata"]["name"] for each in build_credentials(stack, CONTEXT)}
    assert set(names_in_use(stack)) == made | {"shop-credentials"}
    assert set(names_in_use(stack)) <= set(names_of_credentials(stack))


def test_nothing_is_given_passwords_in_the_place_of_lost_ones() -> None:
    seen = observed(*SETS)
    lost = lost_credentials(STACK, seen)
    context = replace(CONTEXT, credentials=FRESH, lost=lost)
    wanted = build_stack(STACK, context)
    actions = plan(STACK, wanted, seen, set_gates(assess_stack(STACK, seen, context)))
    written = {
        (each.target.kind, each.target.name) for each in actions if each.target.kind in ("Secret", "StatefulSet")
    }
    assert written == {("Secret", "shop-api-token"), ("Secret", "shop-credentials")}, "a token is whatever it is"
    (record,) = [each.manifest for each in wanted if each.manifest["metadata"]["name"] == "shop-credentials"]
    assert record["data"].keys() == {"api_token"}


@pytest.mark.parametrize(
    ("phase", "words"), [("Running", "or from the pods"), ("Pending", "No pod is left that holds them")]
)
def test_a_pod_that_was_made_since_holds_no_password(phase: str, words: str) -> None:
    """Drift is repaired at once, so pods may come between the end of the old ones and that of the Secrets."""
    seen = observed(*SETS, a_pod(STACK, "rabbitmq", ready=phase == "Running", phase=phase))
    context = replace(CONTEXT, credentials=FRESH, lost=lost_credentials(STACK, seen))
    assessment = assess_stack(STACK, seen, context)
    assert ("RabbitMQReady" in assessment.unseen) is (phase == "Running"), "known to be away, or not to be asked"
    assert words in assessment.verdicts["RabbitMQReady"].message


def test_a_deleted_secret_is_made_again_with_the_password_that_the_service_has() -> None:
    (action,) = credential_actions(look(without="shop-postgres-app"))
    assert action.verb is Verb.CREATE
    assert action.manifest is not None
    assert base64.b64decode(action.manifest["data"]["password"]) == b"postgres_app-password"


def test_a_deleted_record_is_made_again_from_the_secrets() -> None:
    (action,) = credential_actions(look(record=False))
    assert action.target.name == "shop-credentials"
    assert action.manifest is not None
    assert action.manifest["data"] == RECORD["data"]


def test_what_somebody_writes_into_the_record_is_put_right_from_the_secret() -> None:
    """A pod that restarts would read it, and be let in nowhere."""
    ours, data = RECORD["metadata"]["managedFields"][0], {**RECORD["data"], "redis": base64.b64encode(b"x").decode()}
    left = {key: fields for key, fields in ours["fieldsV1"]["f:data"].items() if key != "f:redis"}
    fields = [
        {**ours, "fieldsV1": {**ours["fieldsV1"], "f:data": left}},
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:data": {"f:redis": {}}}},
    ]
    record = {**RECORD, "data": data, "metadata": {**RECORD["metadata"], "managedFields": fields}}
    seen = observed(*SECRETS, record)
    assert edited_credentials(STACK, seen, known_credentials(STACK, seen, FRESH)) == {}
    (action,) = credential_actions(seen)
    assert action.target.name == "shop-credentials"
    assert action.manifest is not None
    assert action.manifest["data"] == RECORD["data"]


def test_an_edited_secret_is_not_written_over() -> None:
    assert credential_actions(look(edited="shop-redis-auth")) == []


def test_the_rest_of_an_edited_secret_follows_once_its_password_is_in_force() -> None:
    seen = look(edited="shop-postgres-app")
    record, secret = credential_actions(seen, replace(CONTEXT.credentials, postgres_app="other"))
    assert {record.target.name, secret.target.name} == {"shop-credentials", "shop-postgres-app"}
    uris = [each.manifest["data"].get("uri") for each in (record, secret) if each.manifest]
    assert any(uri and b"app:other@" in base64.b64decode(uri) for uri in uris)


@pytest.mark.parametrize(
    ("secret", "key", "component"),
    [
        ("shop-redis-auth", "password", "redis"),
        ("shop-rabbitmq-auth", "erlang-cookie", "rabbitmq"),
        ("shop-postgres-rest", "password", "postgres"),
        ("shop-postgres-superuser", "password", "postgres"),
    ],
)
def test_an_edit_that_is_not_in_force_is_said_with_the_way_out(secret: str, key: str, component: str) -> None:
    verdict = secrets_are_in_force(component, STACK, look(edited=secret, key=key), CONTEXT)
    assert verdict is not None
    assert verdict.reason is Reason.SECRET_INVALID
    assert secret in verdict.message
    assert "Delete the Secret" in verdict.message


UNUSABLE = [
    ("postgres-replication", b"secret\n", "newline"),
    ("postgres-app", b"two\nlines", "line break"),
    ("postgres-superuser", "gehe\u00efm".encode(), "ASCII"),
    ("postgres-superuser", b"\xff\xfe", "ASCII"),
    ("redis-auth", b" secret", "blank"),
    ("rabbitmq-auth", b"sec#ret", "RabbitMQ"),
    ("rabbitmq-auth", b"sec\\ret", "RabbitMQ"),
]


@pytest.mark.parametrize(("secret", "value", "said"), UNUSABLE)
def test_a_password_that_no_file_can_hold_is_refused_and_why(secret: str, value: bytes, said: str) -> None:
    component, seen = secret.partition("-")[0], look(edited=f"shop-{secret}", value=value)
    assert usable_edits(STACK, seen, CONTEXT.credentials) == {}
    verdict = secrets_are_in_force(component, STACK, seen, CONTEXT)
    assert verdict is not None
    assert verdict.reason is Reason.SECRET_INVALID
    assert verdict.message.startswith(f"Secret shop-{secret}: the password cannot be used: ")
    assert said in verdict.message


@pytest.mark.parametrize(("secret", "value", "said"), UNUSABLE)
def test_a_service_that_is_still_to_be_made_is_given_another_one(secret: str, value: bytes, said: str) -> None:
    seen = look(record=False, edited=f"shop-{secret}", value=value)
    field = next(field for field, place in PLACES.items() if place == (secret, "password"))
    assert getattr(known_credentials(STACK, seen, FRESH), field) == "fresh"
    made_before = made(STACK, {"kind": "StatefulSet", "metadata": {"name": f"shop-{secret.partition('-')[0]}"}})
    running = observed(*seen.of_kind("Secret"), made_before)
    assert getattr(known_credentials(STACK, running, FRESH), field) == value.decode(errors="replace")


def test_an_api_token_is_whatever_its_secret_says() -> None:
    seen = look(edited="shop-api-token", key="token", value=b"token\n")
    assert usable_edits(STACK, seen, CONTEXT.credentials) == {"api_token": "token\n"}


def test_other_characters_can_be_used() -> None:
    seen = look(edited="shop-postgres-app", value=b"p@ss w:r'd#\\")
    assert usable_edits(STACK, seen, CONTEXT.credentials) == {"postgres_app": "p@ss w:r'd#\\"}


def test_what_the_services_read_is_the_record_and_not_the_edited_secret() -> None:
    for item in build_stack(STACK, CONTEXT):
        if item.manifest["kind"] == "StatefulSet":
            for container in item.manifest["spec"]["template"]["spec"]["containers"]:
                sources = {
                    each["valueFrom"]["secretKeyRef"]["name"]
                    for each in container["env"]
                    if "secretKeyRef" in each.get("valueFrom", {})
                }
                assert sources <= {"shop-credentials"}


def test_a_password_with_any_character_fits_into_the_urls() -> None:
    context = replace(CONTEXT, credentials=replace(CONTEXT.credentials, postgres_app="p@ss/w:rd#"))
    (secret,) = [each for each in build_credentials(STACK, context) if each["metadata"]["name"] == "shop-postgres-app"]
    assert b"app:p%40ss%2Fw%3Ard%23@" in base64.b64decode(secret["data"]["uri"])


def test_nothing_is_edited_where_secret_and_record_agree() -> None:
    assert edited_credentials(STACK, look(), known_credentials(STACK, look(), FRESH)) == {}
