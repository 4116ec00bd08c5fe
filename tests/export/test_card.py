"""The model card: facts, snippets, and text that tries to break the page."""

import dataclasses
import re

import pytest
from markdown_it import MarkdownIt

from bit_keras import recipe as recipe_lib
from bit_keras.export import card
from bit_keras.export.manifest import Manifest
from bit_keras.recipe import Data, Model, Recipe, Schedule

FILES = ("saved_model.pb", "fingerprint.pb", "variables/a", "labels.txt")
RECIPE = Recipe(
    name="transfer",
    model=Model(name="bit_tiny", init="bit_tiny.npz"),
    data=Data(dataset="digits"),
    schedule=Schedule(steps=500, boundaries=(150, 300, 450)),
)
FACTS = Manifest(
    name="bit_tiny",
    version=3,
    model="bit_tiny",
    architecture={"blocks": [1, 1, 1], "width": 0.25},
    parameters=124_947,
    num_features=256,
    num_classes=10,
    endpoints={"stem": 16, "block1/unit01": 64, "pre_logits": 256},
    folded=False,
    output="features",
    activation="softmax",
    upstream="ImageNet-21k",
    init="bit_tiny.npz",
    weights="final",
    recipe=recipe_lib.to_dict(RECIPE),
    data={
        "train": {"split": "train", "num_examples": 1297, "fingerprint": "f0"},
        "eval": None,
    },
    metrics=[
        {
            "metric": "top1",
            "value": 0.9125,
            "dataset": "digits",
            "split": "test",
            "examples": 500,
            "source": "result.json of the training run",
        }
    ],
    preprocessing={"resolution": 40, "resize": "bilinear, whole image"},
    input={"dtype": "float32", "range": [0, 1], "min_size": 32},
    licence="Apache-2.0",
    code_version="0.1.0",
    versions={"keras": "3.15.1"},
)
COMMAND = ("-m", "bit_keras.train", "--recipe", "transfer")
HOSTILE = (
    "a|b",
    "x | y |\n| z | w",
    "`code",
    "```\n# Title\n```python\nimport os\n```",
    "x\n```\n# Title\n",
    "<script>alert(1)</script>",
    "<!-- the rest is gone",
    "&lt;b&gt;",
    "[click](javascript:x)",
    "![image](x)",
    "**bold** _it_ __b__ ~~gone~~",
    "back\\slash\\",
    "\n\n## A heading\n\n- a list",
    "$x$ $resolution ${trainable}",
    "\u202eright to left\x1b[2J",
)


def changed(**changes):
    return dataclasses.replace(FACTS, **changes)


def parsed(markdown):
    """Returns the tokens of a reader that knows tables and strikethrough."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return reader.parse(markdown)


def skeleton(markdown):
    """Lists the kinds of tokens, in order, those inside lines included."""
    kinds = []
    for token in parsed(markdown):
        kinds.append(token.type)
        inside = {child.type for child in token.children or ()}
        kinds += sorted(inside - {"text", "text_special"})
    return kinds


def shown(markdown):
    """Returns the texts that a reader sees, one for each cell or paragraph."""
    return [
        "".join(child.content for child in token.children)
        for token in parsed(markdown)
        if token.type == "inline"
    ]


def rows(markdown):
    """Returns the lines of all tables, as tuples of what a reader sees."""
    found, open_row = [], False
    for token in parsed(markdown):
        if token.type == "tr_open":
            found.append(())
        open_row = token.type != "tr_close" and (
            open_row or token.type == "tr_open"
        )
        if open_row and token.type == "inline":
            text = "".join(child.content for child in token.children)
            found[-1] += (text,)
    return found


def headings(markdown):
    tokens = parsed(markdown)
    return [
        tokens[i + 1].content
        for i, token in enumerate(tokens)
        if token.type == "heading_open"
    ]


def test_the_card_states_the_facts():
    page = card.readme(FACTS, FILES, COMMAND)
    table = rows(page)
    for row in (
        ("Parameters", "124,947"),
        ("Pre-trained on", "ImageNet-21k"),
        ("schedule.steps", "500"),
        ("schedule.boundaries", "150, 300, 450"),
        ("train.num_examples", "1297"),
        ("variables", "its weights"),
        ("keras", "3.15.1"),
        (
            "top1",
            "0.9125",
            "digits",
            "test",
            "500",
            "result.json of the training run",
        ),
    ):
        assert row in table
    texts = " ".join(shown(page))
    assert "bit_tiny, version 3" in texts
    assert "block1/unit01 (64)" in texts
    assert "any size from 32 pixels. Meant for 40 x 40" in texts
    assert "Licence of the weights: Apache-2.0." in texts
    assert "load only what you trust" in texts
    assert "arXiv:1912.11370" in page
    assert "python -m bit_keras.train --recipe transfer" in page
    # Neither filled in later nor meant for people.
    assert not any("fingerprint" == row[0].split(".")[-1] for row in table)
    assert not any("mixup_alpha" in row[0] for row in table)


def test_a_run_without_init_started_from_random_weights():
    page = card.readme(changed(init=None), FILES, COMMAND)
    assert ("Started from", "random weights") in rows(page)
    # Of a weight file, nobody knows.
    facts = changed(init=None, recipe=None)
    page = card.readme(facts, FILES, COMMAND)
    assert ("Started from", "not recorded") in rows(page)


def test_what_is_not_known_is_not_made_up():
    facts = changed(
        model=None, upstream=None, init=None, recipe=None, data=None, metrics=[]
    )
    page = card.readme(facts, FILES)
    assert ("Pre-trained on", "not recorded") in rows(page)
    assert ("Network", "not recorded") in rows(page)
    texts = shown(page)
    assert "None recorded." in texts
    assert "No recipe is recorded." in texts
    assert "No data is recorded." in texts
    assert "Command: not recorded." in texts
    assert "side in training: not recorded" in " ".join(texts)


def test_a_metric_without_source_says_so():
    page = card.readme(changed(metrics=[{"metric": "top1", "value": 1}]), FILES)
    unknown = ("not recorded",) * 4
    assert ("top1", "1", *unknown) in rows(page)


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_is_seen_as_it_is(text):
    line = f"before {card.escape(text)} after"
    plain = "".join(c if c.isprintable() else " " for c in text).strip()
    assert shown(line) == [f"before {plain} after"]
    assert skeleton(line) == skeleton("before plain after")
    table = f"| a | b |\n| --- | --- |\n| {card.escape(text)} | 1 |"
    # A reader drops spaces at the ends of a cell.
    assert rows(table)[1:] == [(plain.strip(), "1")]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_cannot_break_the_page(text):
    facts = changed(
        name=text,
        model=text,
        architecture={text: text},
        endpoints={text: text},
        upstream=text,
        init=text,
        weights=text,
        recipe=recipe_lib.to_dict(dataclasses.replace(RECIPE, name=text)),
        data={"train": {text: text}},
        metrics=[{"metric": text, "value": text, "dataset": text}],
        preprocessing={"resolution": 40, "resize": text},
        input={"min_size": text},
        licence=text,
        code_version=text,
        versions={text: text},
    )
    hostile = card.readme(facts, (*FILES, text.replace("/", "")), (text,))
    plain = changed(
        endpoints={"stem": 16},
        data={"train": {"a": "a"}},
        metrics=[{"metric": "top1"}],
    )
    tame = card.readme(plain, (*FILES, "other"), COMMAND)
    assert skeleton(hostile) == skeleton(tame)
    assert headings(hostile)[1:] == headings(tame)[1:]
    assert card.snippets(hostile) == card.snippets(tame)
    fences = [t for t in parsed(hostile) if t.type == "fence"]
    assert [t.info for t in fences][-2:] == ["sh", "bibtex"]


def test_a_very_long_text_is_cut():
    page = card.readme(changed(upstream="x" * 10_000), FILES)
    assert ("Pre-trained on", "x" * 300 + "...") in rows(page)


def test_a_snippet_per_consumer_that_compiles():
    snippets = card.snippets(card.readme(FACTS, FILES))
    assert list(snippets) == [
        "TensorFlow",
        "TensorFlow Hub",
        "keras.layers.TFSMLayer",
        "bit_keras.SavedModelLayer",
        "serve_encoded",
    ]
    for consumer, code in snippets.items():
        compile(code, consumer, "exec")
        assert "$" not in code
        assert '"."' in code
        # Only the one layer needs this package.
        needs = re.search(r"^import bit_keras$", code, re.MULTILINE)
        assert bool(needs) == (consumer == "bit_keras.SavedModelLayer")
        if consumer != "serve_encoded":
            assert "tf.random.uniform((2, 40, 40, 3))" in code


def test_snippets_are_the_python_blocks_a_reader_finds():
    page = card.readme(FACTS, FILES, COMMAND)
    blocks = [t.content for t in parsed(page) if t.info == "python"]
    assert list(card.snippets(page).values()) == blocks


def test_signatures_of_a_head_need_one():
    facts = changed(num_classes=0, activation=None)
    files = tuple(name for name in FILES if name != "labels.txt")
    snippets = card.snippets(card.readme(facts, files))
    assert "serve_encoded" not in snippets
    assert '"logits"' not in snippets["TensorFlow"]
    assert '"logits"' in card.snippets(card.readme(FACTS, FILES))["TensorFlow"]


def test_a_folded_card_does_not_fine_tune():
    page = card.readme(changed(folded=True), FILES)
    snippets = card.snippets(page)
    for consumer in ("TensorFlow Hub", "bit_keras.SavedModelLayer"):
        assert "trainable=False" in snippets[consumer]
    assert "trainable=True" not in page
    assert "fine-tunes" not in page
    assert "Folded: not fine-tunable." in page
    plain = card.readme(FACTS, FILES)
    assert "trainable=False" not in plain
    assert "Folded" not in plain


def test_without_a_saved_model_there_are_no_snippets():
    page = card.readme(FACTS, ("model.npz", "labels.txt"))
    assert card.snippets(page) == {}
    assert "## Use" not in page
    assert any(row[0] == "model.npz" for row in rows(page))


def test_the_files_come_from_the_checksums():
    facts = changed(sha256=dict.fromkeys(FILES, "00"))
    assert card.readme(facts) == card.readme(FACTS, FILES)
    with pytest.raises(ValueError, match="no checksums yet"):
        card.readme(FACTS)
