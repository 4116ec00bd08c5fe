"""The demonstration: python -m bit_keras.demo, or `make demo`.

A chain of the public commands on data that need no download, each echoed
before it runs.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bit_keras.atomic_writes import write_atomic
from bit_keras.environment import prepare_tensorflow
from bit_keras.quiet import quiet

# Upstream: 16 generated shapes.  The schedule is BiT-S's, scaled to 900 steps;
# batch 128 scales its learning rate to 0.015, a tiny network takes ten times
# that.
_UPSTREAM = (
    "--recipe=bit_s",
    "--dataset=shapes",
    "--model=bit_tiny",
    "--resolution=32",
    "--batch-size=128",
    "--steps=900",
    "--set=schedule.learning_rate=0.15",
)
# Few-shot: the same digits, as a task of the user's own.
_FILE = "tasks.json"
_TASKS = [
    {"name": "digits", "dataset": "digits", "train": "train", "test": "test"}
]
# Downstream: scans of handwritten digits.  HyperRule gives 500 steps and no
# MixUp; digits must not be mirrored.
_TRANSFER = (
    "--recipe=transfer",
    "--dataset=digits",
    "--model=bit_tiny",
    "--resolution=32",
    "--batch-size=128",
    "--set=preprocess.flip=false",
    "--set=schedule.learning_rate=0.03",
)


def commands(out: Path) -> list[list[str]]:
    """Returns the commands of the demonstration, as typed after `python`.

    >>> [command[2] for command in commands(Path("out"))][-3:]
    ['fewshot', 'fewshot', 'report']
    """
    train, export = ["-m", "bit_keras.train"], ["-m", "bit_keras.export"]
    measure = ["-m", "bit_keras.benchmarks"]
    upstream, transfer = out / "upstream", out / "transfer"
    exports = [f"--out={out / 'exports'}", "--overwrite"]
    few_shot = [f"--tasks-file={out / _FILE}", f"--out={out / 'results'}"]
    random = ["--model=bit_tiny", "--init=random", "--resolution=32"]
    return [
        [*train, *_UPSTREAM, f"--workdir={upstream}"],
        [*train, *_TRANSFER, f"--init={upstream}", f"--workdir={transfer}"],
        [*export, f"{transfer}", *exports],
        [*measure, "fewshot", f"--model={upstream}", *few_shot],
        [*measure, "fewshot", *random, *few_shot],
        [*measure, "report", f"{out / 'results'}", f"--out={out / 'report'}"],
    ]


def majority(dataset: str, split: str) -> float:
    """Returns the share of the commonest class: what a constant guess scores.

    >>> majority("shapes", "test")
    0.0625
    """
    import numpy as np

    from bit_keras.data.sources import open_source

    source = open_source(dataset, split)
    labels = [int(example["label"]) for example in source.read()]
    return float(np.bincount(labels).max() / len(labels))


def through_hub(out: Path) -> str:
    """Reloads the export with hub.KerasLayer, and compares it with the run.

    Args:
        out: Of a finished demonstration.

    Returns:
        A line with the largest difference of the logits from those of the
        trained model, and with the accuracy through the export, both over the
        whole test split.
    """
    import numpy as np

    import bit_keras
    from bit_keras.data.preprocess import eval_function
    from bit_keras.data.sources import open_source
    from bit_keras.export.hub import import_hub
    from bit_keras.recipe import Preprocess

    examples = list(open_source("digits", "test").read())
    prepare = eval_function(Preprocess(crop=32))
    images = np.stack([prepare(example["image"]) for example in examples])
    labels = np.array([int(example["label"]) for example in examples])

    model = bit_keras.create_model("bit_tiny", num_classes=10)
    bit_keras.load_checkpoint(model, out / "transfer")
    export = out / "exports" / "bit_tiny" / "1"
    layer = import_hub().KerasLayer(
        str(export), signature="logits", output_key="logits"
    )
    logits = np.array(layer((images + 1) / 2))
    difference = np.abs(logits - model.predict(images, verbose=0)).max()
    accuracy = float((logits.argmax(-1) == labels).mean())
    return (
        f"hub.KerasLayer({str(export)!r}): top-1 {accuracy:.3f} on digits "
        f"test, logits within {difference:.1e} of the trained model's"
    )


def table(out: Path) -> str:
    """Returns the results of both runs as a table."""
    lines = [
        f"{'':10} {'dataset':8} {'top-1':>6} {'majority class':>15} "
        f"{'seconds':>8}  files"
    ]
    for name in ("upstream", "transfer"):
        text = (out / name / "result.json").read_text(encoding="utf-8")
        result = json.loads(text)
        dataset, split = result["dataset"], result["eval_split"]
        lines.append(
            f"{name:10} {dataset:8} {result['top1']:6.3f} "
            f"{majority(dataset, split):15.3f} {result['seconds']:8.0f}  "
            f"{out / name}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the chain and returns the exit code of the first that fails, or 0.

    Args:
        argv: Arguments without the program's name; None: of this process.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="runs/demo", help="where files go")
    out = Path(parser.parse_args(argv).out)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / _FILE, json.dumps(_TASKS, indent=1) + "\n")
    for command in commands(out):
        print(f"\n$ python {shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, *command]).returncode
        if code:
            return code
    prepare_tensorflow()
    with quiet():
        lines = table(out), through_hub(out)
    page = out / "report" / "report.html"
    print("", *lines, f"Few-shot accuracies as a page: {page}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
