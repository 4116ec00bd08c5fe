"""The sub-command `robustness KIND`: what is left of a model under a shift."""

import argparse
import importlib
from collections.abc import Sequence
from types import ModuleType

# Kind -> (module, one line). The modules are as those of `__main__`.
KINDS = {
    "shift": (
        "robustness.shift_command",
        "accuracy on shifted versions of a test set",
    ),
    "corruptions": (
        "corruptions.command",
        "accuracy under 15 corruptions of 5 severities, as ImageNet-C",
    ),
    "cue_conflict": (
        "robustness.cue_conflict_command",
        "whether shape or texture decides",
    ),
    "effective": (
        "robustness.effective_command",
        "accuracy under shift beyond what other models let expect",
    ),
}


class _Kind(argparse.Action):
    """Gives the rest of the command line to the parser of one kind.

    argparse's own sub-parsers would load the modules of all kinds.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        kind, *rest = values
        if kind not in KINDS:
            known = ", ".join(map(repr, KINDS))
            # In argparse's words, to which Parser adds a suggestion.
            parser.error(
                f"argument KIND: invalid choice: '{kind}' (choose from {known})"
            )
        module = _module(kind)
        inner = type(parser)(
            prog=f"{parser.prog} {kind}",
            description=f"robustness {kind}: {KINDS[kind][1]}.",
            allow_abbrev=False,
        )
        module.add_arguments(inner)
        inner.parse_args(rest, namespace)
        namespace.kind = kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds KIND, and all that follows it.

    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> words = "shift --model m --out o --source digits --shifted mine"
    >>> parser.parse_args(words.split()).shifted
    'mine'
    """
    width = max(map(len, KINDS))
    lines = [f"{name:{width}}  {text}" for name, (_, text) in KINDS.items()]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "kinds:\n  " + "\n  ".join(
        [*lines, "", "KIND --help says more of each."]
    )
    parser.add_argument(
        "kind",
        nargs=argparse.PARSER,
        action=_Kind,
        metavar="KIND ...",
        help=", ".join(KINDS),
    )


def check(args: argparse.Namespace) -> None:
    """Lets the kind check its arguments.

    Args:
        args: As `add_arguments` makes them.
    """
    module = _module(args.kind)
    if hasattr(module, "check"):
        module.check(args)


def run(args: argparse.Namespace) -> int:
    """Runs the kind and returns its exit code.

    Args:
        args: As `add_arguments` makes them, checked.
    """
    return _module(args.kind).run(args)


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"bit_keras.benchmarks.{KINDS[kind][0]}")
