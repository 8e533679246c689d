"""A remote service as a `ServiceImpl`. Earlier answers are read from disk, so that healing, showing and comparing what is
loaded does not depend on the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from reconciler.errors import ServiceRefused
from reconciler.service.commands import Command
from reconciler.service.implementation import ActionCall, ActionDone, Config, Found, Layouts, Rows
from reconciler.service.importers import Import
from reconciler.service.model.codec import Env
from reconciler.service.model.rows import Migrate, TableRows
from reconciler.service.remote import wire
from reconciler.service.remote.contact import Contact
from reconciler.service.remote.honesty import difference
from reconciler.service.remote.kept import Answers, digest_of
from reconciler.service.remote.manifest import Manifest

T = TypeVar("T")
_MET = "met"  # among the answers: it was asked twice
_DERIVE = ("sources", "programs", "constants", "sizes", "tables")


class RemoteImpl:
    """Raises ServiceAway if a call is needed and fails, ServiceRefused for an answer that is not valid."""

    def __init__(self, manifest: Manifest, contact: Contact, answers: Answers, slow_path: Any) -> None:
        functions = manifest.functions
        self._manifest, self._contact, self._answers = manifest, contact, answers
        self.chooses, self.derives, self.acts = ("sources" in functions), ("tables" in functions), ("actions" in functions)
        self.reads, self.checks = bool(functions & {"config", "state"}), bool(functions & {"check", *_DERIVE})
        self.facts, self.scratch = manifest.facts, manifest.scratch
        self.imports: Mapping[str, Import] = {}
        self.commands: Mapping[str, Command] = {}
        self.migrations: Mapping[str, Mapping[tuple[int, int], Migrate]] = {}
        self.cut_with: Mapping[str, str] = {}
        self.leaves_host = False
        self.slow_path = slow_path if functions & {"packet_in", "tick", "out"} else None

    @property
    def version(self) -> str:
        return self._manifest.digest

    def _ask(self, function: str, said: Mapping[str, Any], believed: Callable[[Any], T]) -> T:
        """The answer, as validated by `believed`. One that it raises ServiceRefused for is not stored."""
        question = digest_of(function, json.dumps(said, sort_keys=True, separators=(",", ":")))
        known, answer = self._answers.get(question)
        if known:
            return believed(answer)
        answer = self._contact.ask(function, said)
        if function == "tables" and not self._answers.get(_MET)[0]:
            if self._contact.ask(function, said) != answer:
                raise self._refused("tables gives other rows when it is asked again")
            self._answers.put(_MET, True)
        found = believed(answer)
        self._answers.put(question, answer)
        return found

    def _of_config(self, function: str, config: Config) -> Mapping[str, Any]:
        return self._ask(function, {"config": wire.plain(config)}, lambda answer: self._object(function, answer))

    def _object(self, function: str, answer: Any) -> Mapping[str, Any]:
        if not isinstance(answer, Mapping):
            raise self._refused(f"{function} must give an object")
        return answer

    def _refused(self, why: str) -> ServiceRefused:
        return ServiceRefused(f"service {self._manifest.name} at {self._contact.place.url} is not loaded: {why}")

    # -- ServiceImpl ------------------------------------------------------------------------------------------------

    def sources(self, config: Config) -> Mapping[str, Sequence[Any]]:
        return self._of_config("sources", config) if self.chooses else {}

    def programs(self, config: Config) -> Mapping[str, Sequence[int]] | None:
        return self._of_config("programs", config) if "programs" in self._manifest.functions else None

    def constants(self, config: Config) -> Mapping[str, int]:
        return self._numbers("constants", config)

    def sizes(self, config: Config) -> Mapping[str, int]:
        return self._numbers("sizes", config)

    def _numbers(self, function: str, config: Config) -> Mapping[str, int]:
        found = self._of_config(function, config) if function in self._manifest.functions else {}
        if any(type(value) is not int or not 0 <= value < 1 << 32 for value in found.values()):
            raise self._refused(f"{function} must give numbers of 32 bits")
        return found

    def tables(self, config: Config, env: Env, tables: Layouts) -> Mapping[str, TableRows]:
        if not self.derives:
            return {}
        plain = wire.plain(config)
        live = self._manifest.tables if self._manifest.live else ()

        def believed(answer: Any) -> Mapping[str, TableRows]:
            found = self._table_rows(self._object("tables", answer), tables)
            if plain:
                self._hold_to(plain, found, env, tables)
            return found

        return self._ask(
            "tables", {"config": plain, "env": wire.env(env, facts=True, live=live), "tables": self._layouts(tables)}, believed
        )

    def _table_rows(self, answer: Mapping[str, Any], tables: Layouts) -> dict[str, TableRows]:
        for name in answer:
            if name not in self._manifest.tables or name not in tables:
                raise self._refused(f"it gives rows of {name}, which is none of the tables that it derives")
        try:
            return {name: wire.table_rows(name, said, tables[name]) for name, said in answer.items()}
        except ValueError as error:
            raise self._refused(str(error)) from None

    def _hold_to(self, config: Config, found: Mapping[str, TableRows], env: Env, tables: Layouts) -> None:
        """The configuration must be read back from its rows: otherwise drift would be shown where there is none, or missed."""

        def believed(answer: Any) -> None:
            if words := difference(config, self._object("config", answer)):
                raise self._refused(f"config(tables(c)) is not c: {words}")

        self._ask("config", self._of_rows({name: each.rows for name, each in found.items()}, env, tables), believed)

    def _layouts(self, tables: Layouts) -> dict[str, Any]:
        return wire.layouts(tables, self._manifest.tables)

    def _of_rows(self, rows: Rows, env: Env, tables: Layouts) -> dict[str, Any]:
        derived = {name: table for name, table in rows.items() if name in self._manifest.tables}
        return {"rows": wire.rows(wire.without_zeros(derived, tables)), "env": wire.env(env), "tables": self._layouts(tables)}

    def config(self, rows: Rows, env: Env, tables: Layouts) -> Config:
        if not self.derives:
            return {}
        return self._ask("config", self._of_rows(rows, env, tables), lambda answer: self._object("config", answer))

    def state(self, rows: Rows, env: Env, tables: Layouts) -> Config:
        if "state" not in self._manifest.functions:
            return {}
        said = {"rows": wire.rows(rows), "env": wire.env(env, facts=True, now=True), "tables": wire.layouts(tables, tables)}
        found: Config = self._contact.ask("state", said)  # it is another one each time
        return found

    def namespace(self, config: Config, cube: str) -> Mapping[str, Config]:  # noqa: ARG002 - the contract has no such function
        return {}

    def check(self, config: Config, env: Env) -> Iterable[Found]:
        """Its findings about a configuration. For a new configuration the service must be reachable: a document is refused
        before anything is planned, and the others of a directory are not delayed."""
        plain = wire.plain(config)
        if "check" in self._manifest.functions:
            yield from self._ask("check", {"config": plain, "env": wire.env(env)}, self._findings)
        known = digest_of("known", json.dumps(plain, sort_keys=True))
        if self._manifest.functions & set(_DERIVE) and not self._answers.get(known)[0]:
            self._contact.reach()
            self._answers.put(known, True)

    def _findings(self, answer: Any) -> list[Found]:
        try:
            found = [(tuple(path), str(sentence), severity) for path, sentence, severity in answer]
        except (TypeError, ValueError):
            found = [((), "", "")]
        if all(severity in ("error", "warning") and all(type(s) in (str, int) for s in path) for path, _, severity in found):
            return found
        raise self._refused("check must give [[path, sentence, 'error' or 'warning'], ...]")

    def actions(self, call: ActionCall) -> ActionDone:
        answer = self._contact.ask("actions", wire.action_call(call, call.tables))
        try:
            return wire.action_done(answer)
        except ValueError as error:
            raise self._refused(str(error)) from None

    def cuts(self, before: Config | None, config: Config) -> str:  # noqa: ARG002 - as ServiceImpl has it
        """Not part of the contract."""
        return ""
