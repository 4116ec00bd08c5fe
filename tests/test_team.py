"""What workers decide together, played by one process."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.cluster import Cluster
from bit_keras.stops import WorkerLostError
from bit_keras.team import Team, watched

FACTS = {
    "recipe": {"data": {"data_dir": "/a"}, "schedule": {"steps": 10}},
    "data": {"train": {"num_examples": 5}},
}


def team_of(size, rows):
    """Worker 0 of a team whose exchanges end as `rows` says."""
    made = Team(tf.distribute.OneDeviceStrategy("/cpu:0"))
    made.size = size
    made.exchange = lambda numbers: rows(list(numbers))
    return made


def with_other(facts):
    """Worker 0, the other of whom was started with `facts`."""
    import json

    other = copy.deepcopy(facts)
    del other["recipe"]["data"]["data_dir"]
    text = json.dumps(other, indent=1).encode()

    def rows(numbers):
        if len(numbers) == 1:
            return [numbers, [len(text)]]
        return [numbers, list(text.ljust(len(numbers), b"\0"))]

    return team_of(2, rows)


def test_alike_are_those_that_differ_in_the_place_of_data_only():
    other = copy.deepcopy(FACTS)
    other["recipe"]["data"]["data_dir"] = "/b/c"
    with_other(other).check_alike(FACTS)
    assert FACTS["recipe"]["data"]["data_dir"] == "/a"


@pytest.mark.parametrize(
    "section, field, value, message",
    [
        ("recipe", "schedule", {"steps": 12}, '"steps": 12 instead of .* 10'),
        ("data", "train", {"num_examples": 4}, '"num_examples": 4 instead'),
    ],
)
def test_what_differs_is_named(section, field, value, message):
    other = copy.deepcopy(FACTS)
    other[section][field] = value
    with pytest.raises(ValueError, match="Worker 1 .*" + message):
        with_other(other).check_alike(FACTS)


def test_one_worker_sends_nothing():
    made = Team(tf.distribute.OneDeviceStrategy("/cpu:0"))
    variable = tf.Variable(3.0)
    made.take_from_chief([variable])
    made.check_alike(FACTS)
    made.wait()
    assert float(variable) == 3.0


def test_variables_come_from_the_chief():
    """As another worker sees it: the sum is what the chief sent."""
    values = [
        np.float32([[1.5, -0.0], [np.pi, 1e-30]]),
        np.int64(7),
        np.uint32([1, 2**32 - 1]),
        np.float16(0.25),
    ]
    made = team_of(2, None)
    made.index = 1
    sums = iter(values)

    def total(sent):
        assert not np.any(sent), "only the chief's values count"
        value = next(sums)
        return tf.constant(value, sent.dtype)

    made._sum = total
    variables = [tf.Variable(np.ones_like(value)) for value in values]
    made.take_from_chief(variables)
    for variable, value in zip(variables, values, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


CLUSTER = Cluster(("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"), 0)


def lost(error, cluster=CLUSTER):
    with pytest.raises(Exception) as caught, watched(cluster):
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.UnavailableError(None, None, "/replica:0/task:2 crashed"),
        tf.errors.InternalError(
            None, None, "x Collective ops is aborted by: /task:2 restarted"
        ),
    ],
)
def test_a_lost_worker_is_named(error, monkeypatch):
    monkeypatch.setattr("bit_keras.team.silent", lambda cluster: [])
    found = lost(error)
    assert isinstance(found, WorkerLostError)
    assert str(found).startswith("worker 2 (127.0.0.1:3) does not answer")
    # As `failures.explained` would have turned it into.
    wrapped = ValueError("explained")
    wrapped.__cause__ = error
    assert isinstance(lost(wrapped), WorkerLostError)
    # Of one process, nobody can be lost.
    assert lost(error, None) is error


def test_those_that_take_no_connection_are_named():
    error = tf.errors.AbortedError(None, None, "no names")
    text = str(lost(error))
    assert text.startswith("worker 1 (127.0.0.1:2), worker 2 (127.0.0.1:3) do")


def test_other_errors_stay_what_they_are():
    for error in (
        ValueError("bad weights"),
        tf.errors.InvalidArgumentError(None, None, "bad shape"),
    ):
        assert lost(error) is error
