"""Who the workers are, and waiting for them; sockets, but no TensorFlow."""

import json
import socket
import threading
import time

import pytest

from bit_keras import cluster
from bit_keras.cluster import Cluster, find_cluster, silent, wait_for_all
from bit_keras.stops import WorkerLostError

FAR = "203.0.113.1:2222,203.0.113.2:2222"  # Addresses that nobody has.


def config(jobs, kind="worker", index=0):
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


def test_index_is_that_of_the_address_of_this_machine():
    found = find_cluster("203.0.113.1:2222, 127.0.0.1:2222")
    assert found == Cluster(("203.0.113.1:2222", "127.0.0.1:2222"), 1)
    assert not found.is_chief
    assert found.others == [0]


@pytest.mark.parametrize(
    "workers, index, message",
    [
        (FAR, None, "of 203.*, none is on this machine.* Add --worker-index"),
        (
            "localhost:1,localhost:2",
            None,
            "of localhost:1,localhost:2, 2 are on",
        ),
        (FAR, 2, "--worker-index must be 0 to 1, for 2 workers; got 2"),
        (FAR, -1, "--worker-index must be 0 to 1, for 2 workers; got -1"),
        ("a:1,b", 0, '--workers: each worker must be host:port; got "b"'),
        ("a:1,b:99999", 0, 'must be host:port; got "b:99999"'),
        ("a:1,:2", 0, 'must be host:port; got ":2"'),
        ("a:1,a:1", 0, "--workers must name each worker once; got a:1,a:1"),
        (",", 0, "--workers must name each worker once"),
        (None, 0, "--worker-index goes with --workers"),
        (None, None, "needs --workers host:port,host:port or .* TF_CONFIG"),
    ],
)
def test_wrong_arguments(workers, index, message):
    with pytest.raises(ValueError, match=message):
        find_cluster(workers, index)


def test_tf_config():
    workers = {"worker": ["a:1", "b:1"]}
    found = find_cluster(tf_config=config(workers, index=1))
    assert found == Cluster(("a:1", "b:1"), 1)
    # A chief is the first worker, whatever it is called.
    jobs = {"chief": ["c:1"], **workers}
    assert find_cluster(tf_config=config(jobs, "chief")).is_chief
    found = find_cluster(tf_config=config(jobs, index=1))
    assert found == Cluster(("c:1", "a:1", "b:1"), 2)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "TF_CONFIG must be such as .* got {"),
        ("[]", "TF_CONFIG must be such as"),
        ("{}", "KeyError: 'cluster'"),
        (config({"worker": ["a:1"]}, index="x"), "ValueError"),
        (config({"worker": ["a:1"]}, index=1), "task index must be 0 to 0"),
        (config({"worker": ["a:1"]}, "chief"), "a task of type chief"),
        (config({"worker": ["a:1"], "ps": ["b:1"]}), "got worker, ps"),
        (config({"worker": ["a"]}), 'host:port; got "a"'),
        (config({"worker": [1]}), 'host:port; got "1"'),
        (config({"worker": "a:1"}), "host:port"),
    ],
)
def test_wrong_tf_config(text, message):
    with pytest.raises(ValueError, match=message):
        find_cluster(tf_config=text)


def test_arguments_and_tf_config_may_agree_but_not_differ():
    workers = ["203.0.113.1:2222", "203.0.113.2:2222"]
    same = config({"worker": workers}, index=1)
    assert find_cluster(FAR, 1, same) == Cluster(tuple(workers), 1)
    for other in (
        config({"worker": workers}, index=0),
        config({"worker": workers[::-1]}, index=1),
    ):
        with pytest.raises(ValueError, match="contradict each other: .* with"):
            find_cluster(FAR, 1, other)


def test_all_return_once_all_have_started(free_ports):
    workers = tuple(f"localhost:{port}" for port in free_ports(3))
    ended = {}

    def start(index):
        wait_for_all(Cluster(workers, index), print)
        # TensorFlow takes the port over at once.
        port = int(workers[index].rpartition(":")[2])
        with socket.create_server(("", port)):
            ended[index] = time.monotonic()
            everybody.wait(timeout=20)

    everybody = threading.Barrier(3)
    threads = [threading.Thread(target=start, args=(i,)) for i in range(3)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(0.5)
    assert not ended
    threads[2].start()
    for thread in threads:
        thread.join(timeout=20)
    assert set(ended) == {0, 1, 2}


def test_a_worker_that_never_starts_is_named(free_ports, monkeypatch):
    monkeypatch.setattr(cluster, "_START_SECONDS", 1.0)
    monkeypatch.setattr(cluster, "_TELL_SECONDS", 0.3)
    workers = tuple(f"localhost:{port}" for port in free_ports(2))
    told = []
    began = time.monotonic()
    with pytest.raises(WorkerLostError) as caught:
        wait_for_all(Cluster(workers, 0), told.append)
    assert time.monotonic() - began < 10
    assert f"for worker 1 ({workers[1]}): not started" in str(caught.value)
    assert told[0].startswith(f"waiting for worker 1 ({workers[1]}) (")
    # The port is free again.
    assert silent(Cluster(workers, 1)) == [0]


def test_addresses_of_both_kinds_are_heard(free_ports):
    (port,) = free_ports(1)
    workers = (f"localhost:{port}", "192.0.2.1:1")
    with cluster._listening(Cluster(workers, 0)):
        assert cluster._answers(f"127.0.0.1:{port}")
        if socket.has_dualstack_ipv6():
            assert cluster._answers(f"[::1]:{port}")


def test_a_port_in_use(free_ports):
    workers = tuple(f"localhost:{port}" for port in free_ports(2))
    port = int(workers[0].rpartition(":")[2])
    with socket.create_server(("", port)):
        assert silent(Cluster(workers, 1)) == []
        with pytest.raises(ValueError, match="Is it still running"):
            wait_for_all(Cluster(workers, 0), print)
