"""Rules for every test: whatever is skipped or expected to fail is listed with its reason; figures are shown."""

from __future__ import annotations

import shutil
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no wrong answer: hypothesis must judge results, not milliseconds.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from tests.apiserver.kit.server import BareCluster
    from tests.rooms import Rooms

ALLOWED = Path(__file__).parent / "allowed_skips.toml"


def was_narrowed(config: pytest.Config) -> bool:
    """Tell whether a person chose among the tests on the command line."""
    chosen = config.option
    marks = chosen.markexpr not in ("", "not long")  # the latter is the default, in pyproject.toml
    return bool(marks or chosen.keyword or chosen.deselect or getattr(chosen, "lf", False))


def file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


class SkipGate:
    """Turns a skip, xfail or rerun that nobody listed into a failed session."""

    def __init__(self, allowed: dict[str, Any]) -> None:
        self.long: dict[str, str] = allowed.pop("long", {})
        self.allowed = allowed
        self.unlisted: dict[str, None] = {}  # in the order in which they were met
        self.found: list[pytest.Item] = []
        self.left_out: Counter[str] = Counter()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self.found.append(item)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Whoever may take tests out again, a plugin, a hook or a mark: none may disappear unless a person chose so."""
        kept = {item.nodeid for item in session.items}
        dropped = [item for item in self.found if item.nodeid not in kept]
        long = [item for item in dropped if item.get_closest_marker("long")]
        self.left_out.update(file_of(item) for item in long)
        self.refuse(item.nodeid for item in long if file_of(item) not in self.long)
        if not was_narrowed(session.config):
            self.refuse(item.nodeid for item in dropped if item not in long)

    def refuse(self, nodeids: Iterable[str]) -> None:
        self.unlisted |= dict.fromkeys(nodeids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        is_excused = report.outcome not in ("passed", "failed") or hasattr(report, "wasxfail")
        if is_excused and report.nodeid not in self.allowed:
            self.refuse([report.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and report.nodeid not in self.allowed:
            self.refuse([report.nodeid])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        """Where several processes share the tests, only they saw what was collected: each of them all of it."""
        seen = getattr(node, "workeroutput", {})  # none, where the process died
        self.left_out |= Counter(seen.get("left_out", {}))
        self.refuse(seen.get("unlisted", ()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        tell = getattr(session.config, "workeroutput", {})
        tell |= {"left_out": dict(self.left_out), "unlisted": list(self.unlisted)}
        if self.unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for file, count in sorted(self.left_out.items()):
            reason = self.long.get(file, "NO REASON GIVEN")
            terminalreporter.write_line(f"left to `make test-long`: {count} of {file}: {reason}")
        for nodeid in self.unlisted:
            terminalreporter.write_line(
                f"NOT ALLOWED to be skipped (list it with a reason in {ALLOWED.name}): {nodeid}"
            )


class Figures:
    """Shows at the end what tests measured, also of those that passed: `record_property("measured", …)`."""

    def __init__(self) -> None:
        self.measured: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            said = (str(value) for name, value in report.user_properties if name == "measured")
            self.measured += [f"measured by {report.nodeid}: {words}" for words in said]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for words in self.measured:
            terminalreporter.write_line(words)


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareCluster]:
    """One etcd and one API server for all tests that need no nodes; each test has namespaces of its own."""
    from tests.apiserver.kit import server

    folder = tmp_path_factory.mktemp("bare")
    with server.running(folder / "cluster") as cluster:
        yield cluster
    shutil.rmtree(folder / "cluster" / "etcd", ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Rooms:
    """Used where processes share the tests: -n 2."""
    from tests.rooms import Rooms

    return Rooms(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--current-cluster",
        action="store_true",
        help="Run on the cluster of the current kubeconfig, which stays, instead of one made for the tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipGate(tomllib.loads(ALLOWED.read_text())), "skip-gate")
    config.pluginmanager.register(Figures(), "figures")
