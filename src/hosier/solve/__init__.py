"""Find a consistent set of packages: the only place that knows libsolv.

What comes in is already free of any distribution's rules: packages with the capabilities that they give, need and
rule out, each a plain word. Versions of one package are told apart by `rank` (a higher one is newer).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hosier.dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version of a package. Two candidates of the same `name` exclude each other."""

    name: str
    rank: int
    provides: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Capabilities that no other chosen package may provide; its own are not meant."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One step of the proof that a request cannot be met.

    kind: "nothing-provides" (package needs capability), "requires" (package needs capability, whose providers all
    fail), "conflicts" (package and other, by capability), "same-name" (package and other), "request" (a wanted
    capability), "no-provider" (a wanted capability that nobody gives), "other" (words in `capability`).
    `package` and `other` are positions in the sequence of candidates.
    """

    kind: str
    package: int | None = None
    other: int | None = None
    capability: str = ""


@dataclass(frozen=True, slots=True)
class Solution:
    """`chosen` are positions in the sequence of candidates, ascending; when there is no solution it is empty and
    `problems` holds one proof for each problem."""

    chosen: tuple[int, ...] = ()
    problems: tuple[tuple[Rule, ...], ...] = field(default=())

    @property
    def found(self) -> bool:
        """Whether every wanted capability is given."""
        return not self.problems


def solve(
    candidates: Sequence[Candidate],
    wanted: Iterable[str],
    *,
    required: Iterable[int] = (),
    preferred: Iterable[int] = (),
) -> Solution:
    """A consistent set that gives every capability of `wanted` and holds every candidate of `required`.

    `preferred` candidates are chosen wherever that stays consistent, and before others wherever there is a choice.
    The answer is the same for the same input, in any process.
    """
    import solv

    pool = solv.Pool()
    pool.setarch("x86_64")
    repository = pool.add_repo("candidates")
    base = 0
    for position, candidate in enumerate(candidates):
        solvable = repository.add_solvable()
        if position == 0:
            base = solvable.id
        solvable.name = candidate.name
        solvable.evr = str(candidate.rank)
        solvable.arch = "noarch"
        solvable.add_provides(pool.rel2id(solvable.nameid, solvable.evrid, solv.REL_EQ))
        for capability in candidate.provides:
            solvable.add_provides(pool.str2id(capability))
        for capability in candidate.requires:
            solvable.add_requires(pool.str2id(capability))
        for capability in candidate.conflicts:
            solvable.add_conflicts(pool.str2id(capability))
    pool.createwhatprovides()

    job = solv.Job
    jobs = [pool.Job(job.SOLVER_INSTALL | job.SOLVER_SOLVABLE_PROVIDES, pool.str2id(word)) for word in wanted]
    jobs += [pool.Job(job.SOLVER_INSTALL | job.SOLVER_SOLVABLE, base + position) for position in required]
    for position in preferred:
        jobs.append(pool.Job(job.SOLVER_INSTALL | job.SOLVER_WEAK | job.SOLVER_SOLVABLE, base + position))
        jobs.append(pool.Job(job.SOLVER_FAVOR | job.SOLVER_SOLVABLE, base + position))
    solver = pool.Solver()
    solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
    problems = solver.solve(jobs)
    if problems:
        return Solution(problems=tuple(tuple(_rules(solv, pool, problem, base)) for problem in problems))
    chosen = sorted(solvable.id - base for solvable in solver.transaction().newsolvables())
    return Solution(chosen=tuple(chosen))


def _rules(solv: Any, pool: Any, problem: Any, base: int) -> Iterable[Rule]:
    kinds = {
        solv.Solver.SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP: "nothing-provides",
        solv.Solver.SOLVER_RULE_PKG_REQUIRES: "requires",
        solv.Solver.SOLVER_RULE_PKG_CONFLICTS: "conflicts",
        solv.Solver.SOLVER_RULE_PKG_SAME_NAME: "same-name",
        solv.Solver.SOLVER_RULE_JOB: "request",
        solv.Solver.SOLVER_RULE_JOB_NOTHING_PROVIDES_DEP: "no-provider",
        solv.Solver.SOLVER_RULE_JOB_UNKNOWN_PACKAGE: "no-provider",
    }
    for rule in problem.findallproblemrules():
        for reason in rule.allinfos():
            yield Rule(
                kind=kinds.get(reason.type, "other"),
                package=reason.solvable.id - base if reason.solvable else None,
                other=reason.othersolvable.id - base if reason.othersolvable else None,
                capability=(
                    pool.dep2str(reason.dep_id) if reason.dep_id and reason.type in kinds else reason.problemstr()
                ),
            )
