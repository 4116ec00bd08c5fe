"""The command: python -m bit_keras.export SOURCE --out DIR.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 stopped by Ctrl-C.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app

from bit_keras.arguments import Parser
from bit_keras.environment import prepare_tensorflow
from bit_keras.export.options import Options, check, check_source
from bit_keras.messages import one_line
from bit_keras.quiet import only_warnings, quiet
from bit_keras.recipe import did_you_mean

_EPILOG = """\
examples:
  python -m bit_keras.export runs/c10 --out exports
  python -m bit_keras.export BiT-M-R50x1.npz --out exports --archive
  python -m bit_keras.export bit_r50x1 --init bit_r50x1.i21k --out exports
  python -m bit_keras.export --verify exports/bit_r50x1/1
  python -m bit_keras.export install-cache exports/bit_r50x1/1 \\
      --handle bit/m-r50x1/1

Writes OUT/NAME/VERSION/: a SavedModel that hub.KerasLayer, Keras 3
(bit_keras.SavedModelLayer) and plain TensorFlow load, model.json with
checksums, labels.txt, and README.md with a snippet for each of them.
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the exporting command.

    >>> parser().parse_args(["runs/a", "--out", "exports"]).source
    'runs/a'
    """
    made = Parser(
        prog="python -m bit_keras.export",
        description="Export a backbone as a SavedModel.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="directory of a finished run, official .npz, .keras file, "
        "released name such as bit_r50x1.i21k, or model name (with --init); "
        "with --verify: an export",
    )
    add(
        "--verify",
        action="store_true",
        help="compare the files of the export SOURCE with its model.json",
    )
    add("--init", help='weights of a model named by SOURCE; "random": none')
    add(
        "--weights",
        choices=("final", "best"),
        default="final",
        help="of a run: after the last step (default), or of its best "
        "evaluation",
    )
    _add_output(made)
    return made


def _add_output(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--out", metavar="DIR", help="folder of all exports")
    add("--name", help="folder under DIR; default: the model's name")
    add("--version", type=int, default=1, help="folder under that; default 1")
    add(
        "--format",
        default="savedmodel",
        metavar="LIST",
        help="comma-separated: savedmodel (default), npz (official key "
        "names), keras",
    )
    add(
        "--output",
        choices=("features", "logits"),
        default="features",
        help="what calling the SavedModel returns; logits: a classifier",
    )
    add(
        "--folded",
        action="store_true",
        help="standardize the kernels once: faster, not fine-tunable",
    )
    add(
        "--archive",
        action="store_true",
        help="also write NAME-VERSION.tar.gz, as TensorFlow Hub serves them",
    )
    add(
        "--resolution",
        type=int,
        metavar="PIXELS",
        help="side that serve_encoded resizes to; default: as trained",
    )
    add("--licence", help="of the weights, for the card")
    add("--overwrite", action="store_true", help="replace an older export")


def install_parser() -> argparse.ArgumentParser:
    """Returns the parser of `install-cache`.

    >>> install_parser().parse_args(["e/bit_r50x1/1"]).export
    'e/bit_r50x1/1'
    """
    made = Parser(
        prog="python -m bit_keras.export install-cache",
        description="Put an export into TensorFlow Hub's cache, so that an "
        "original handle such as bit/m-r50x1/1 loads it without a network.",
        allow_abbrev=False,
    )
    made.add_argument("export", metavar="EXPORT", help="directory of an export")
    made.add_argument(
        "--handle",
        help="such as bit/m-r50x1/1, or its URL; default: by the export's "
        "network and upstream",
    )
    made.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="default: TFHUB_CACHE_DIR, or else TensorFlow Hub's own",
    )
    made.add_argument(
        "--overwrite", action="store_true", help="replace what is there"
    )
    return made


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _options(args: argparse.Namespace) -> Options:
    """Returns the options, checked, with all that needs no TensorFlow."""
    options = Options(
        name=args.name,
        version=args.version,
        formats=tuple(args.format.split(",")),
        output=args.output,
        folded=args.folded,
        archive=args.archive,
        overwrite=args.overwrite,
        resolution=args.resolution,
        licence=args.licence,
    )
    check(options)
    check_source(args.source, args.init)
    if args.out is None:
        raise ValueError("--out DIR says where exports go.")
    if Path(args.out).is_file():
        raise NotADirectoryError(f'--out "{args.out}" is a file.')
    return options


def _export(args: argparse.Namespace) -> None:
    with quiet():
        import tensorflow as tf

        from bit_keras.export import exporter, source

        tf.get_logger().setLevel("ERROR")
    loaded = source.load(args.source, args.init, args.weights)
    exporter.export(loaded, args.out, args.options, _say)


def _verify(args: argparse.Namespace) -> None:
    from bit_keras.export import manifest

    directory = args.source
    if Path(directory).is_file():
        raise NotADirectoryError(
            f'"{directory}" is a file: --verify takes the directory of an '
            "export. Unpack an archive first."
        )
    problems = manifest.verify(directory)
    if problems:
        raise ValueError(
            f'"{directory}" is not as it was exported: {"; ".join(problems)}.'
        )
    count = len(manifest.read(directory).sha256)
    _say(f"{directory}: all {count} files are as they were exported")


def _install(args: argparse.Namespace) -> None:
    from bit_keras.export import hub_cache

    handle = args.handle or hub_cache.handle_of(args.export)
    entry = hub_cache.install(
        args.export, handle, args.cache_dir, args.overwrite, _say
    )
    where = f" with TFHUB_CACHE_DIR={args.cache_dir}" if args.cache_dir else ""
    _say(f"{hub_cache.official_handle(handle)} now loads {entry}{where}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Args:
        argv: Arguments without the program's name; None: of this process.

    Example:

    >>> main(["nowhere"])
    2
    """
    return _main(_parse(sys.argv[1:] if argv is None else argv))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    if argv and argv[0] == "install-cache":
        args = install_parser().parse_args(argv[1:])
        return argparse.Namespace(**vars(args), action=_install)
    if argv and not Path(argv[0]).exists():
        if hint := did_you_mean(argv[0], ["install-cache"]):
            parser().error(f'there is no "{argv[0]}".{hint}')
    args = parser().parse_args(argv)
    action = _verify if args.verify else _export
    return argparse.Namespace(**vars(args), action=action)


def _main(args: argparse.Namespace) -> int:
    only_warnings()
    if args.action is _export:
        try:
            args.options = _options(args)
        except (ValueError, OSError) as error:
            _say(f"error: {one_line(error)}")
            return 2
    prepare_tensorflow()
    try:
        args.action(args)
    except (ValueError, OSError) as error:
        _say(f"error: {one_line(error)}")
        return 1
    except KeyboardInterrupt:
        _say("Stopped. What was not finished was not written.")
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    app.run(_main, flags_parser=lambda argv: _parse(argv[1:]))
