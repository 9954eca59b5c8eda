"""How many threads a process uses: on machines made up of files, and in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from fusion import processors
from fusion.machine import Usable, usable
from fusion.machine import processors as count_of_processors
from fusion.processors import Company, Threads, choose

ROOT = Path(__file__).resolve().parents[1]
TWO = frozenset({0, 1})
QUIET, BUSY = "0.10 0.20 0.30 1/99 1234\n", "0.70 0.20 0.30 1/99 1234\n"
TICKS = os.sysconf("SC_CLK_TCK")

V2_MOUNT = "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.fixture
def machine(tmp_path):
    """Writes files of a machine, by their paths; returns its root."""

    def write(files=None, **proc):
        for path, text in {**(files or {}), **{f"proc/{name}": text for name, text in proc.items()}}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return tmp_path

    return write


def cores(*lists, name="core_cpus_list"):
    return {f"sys/devices/system/cpu/cpu{n}/topology/{name}": f"{text}\n" for n, text in enumerate(lists)}


def cgroups(cgroup, mounts):
    return {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts}


# --- What this process may use ---------------------------------------------------------------------------------------


def test_machine_that_says_nothing_has_a_core_per_processor(tmp_path):
    found = usable(tmp_path, frozenset({0, 1, 5}))
    assert (found.cores, found.quota, found.count, found.why) == (3, None, 3, "3 physical cores")


def test_affinity_of_one(machine):
    found = usable(machine(cores("0", "1")), frozenset({1}))
    assert (found.count, found.why) == (1, "1 physical core")


def test_own_affinity_is_taken_where_none_is_given(tmp_path):
    assert usable(tmp_path).affinity == os.sched_getaffinity(0)
    assert count_of_processors() == usable().count >= 1


@pytest.mark.parametrize("name", ["core_cpus_list", "thread_siblings_list"])
@pytest.mark.parametrize(
    ("lists", "affinity", "expected"),
    [
        (("0-1", "0-1", "2-3", "2-3"), {0, 1, 2, 3}, 2),
        (("0,2", "1,3", "0,2", "1,3"), {0, 1, 2, 3}, 2),
        (("0,2", "1,3", "0,2", "1,3"), {0, 2}, 1),
        (("0,2", "1,3", "0,2", "1,3"), {0, 1}, 2),
    ],
)
def test_hyper_threads_count_once(machine, name, lists, affinity, expected):
    assert usable(machine(cores(*lists, name=name)), frozenset(affinity)).count == expected


@pytest.mark.parametrize("text", ["", "none", "0-", "-1", "7", "\0\xff", "0x1"])
def test_core_that_cannot_be_read_is_of_one_processor(machine, text):
    assert usable(machine(cores(text, text)), TWO).count == 2


def test_quota_of_version_2(machine):
    files = {**cgroups("0::/job\n", V2_MOUNT), "sys/fs/cgroup/job/cpu.max": "200000 100000\n"}
    found = usable(machine(files), frozenset(range(64)))
    assert (found.quota, found.count) == (2.0, 2)
    assert found.why == "the control group's quota of 2.0 CPUs on 64 processors"


@pytest.mark.parametrize(("quota", "count"), [("150000", 1), ("20000", 1), ("299999", 2), ("300000", 3), ("900000", 4)])
def test_fraction_of_a_quota_is_left_out_and_one_thread_always_runs(machine, quota, count):
    files = {**cgroups("0::/\n", V2_MOUNT), "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
    assert usable(machine(files), frozenset(range(4))).count == count


def test_quota_above_the_cores_is_not_the_reason(machine):
    files = {**cgroups("0::/\n", V2_MOUNT), "sys/fs/cgroup/cpu.max": "200000 100000\n"}
    assert usable(machine(files), TWO).why == "2 physical cores"


@pytest.mark.parametrize("limited", ["", "a/", "a/b/", "a/b/c/"])
def test_least_quota_of_a_group_and_those_above_it_counts(machine, limited):
    files = cgroups("0::/a/b/c\n", V2_MOUNT)
    files.update({f"sys/fs/cgroup/{group}cpu.max": "800000 100000\n" for group in ("a/", "a/b/", "a/b/c/")})
    files[f"sys/fs/cgroup/{limited}cpu.max"] = "300000 100000\n"
    assert usable(machine(files), frozenset(range(16))).quota == 3.0


def test_group_beside_does_not_count(machine):
    files = {**cgroups("0::/a\n", V2_MOUNT), "sys/fs/cgroup/b/cpu.max": "100000 100000\n"}
    assert usable(machine(files), TWO).quota is None


def test_quota_of_version_1(machine):
    place = "sys/fs/cgroup/cpu,cpuacct"
    memory = V1_MOUNT.replace("cpu,cpuacct", "memory")
    files = {
        **cgroups("4:memory:/elsewhere\n3:cpu,cpuacct:/job/x\n", memory + V1_MOUNT),
        "sys/fs/cgroup/memory/job/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/memory/job/cpu.cfs_period_us": "50000\n",
        f"{place}/cpu.cfs_quota_us": "-1\n",
        f"{place}/cpu.cfs_period_us": "100000\n",
        f"{place}/job/cpu.cfs_quota_us": "125000\n",
        f"{place}/job/cpu.cfs_period_us": "50000\n",
        f"{place}/job/x/cpu.cfs_quota_us": "-1\n",
        f"{place}/job/x/cpu.cfs_period_us": "50000\n",
        f"{place}/elsewhere/cpu.cfs_quota_us": "50000\n",
        f"{place}/elsewhere/cpu.cfs_period_us": "50000\n",
    }
    assert usable(machine(files), frozenset(range(8))).quota == 2.5


@pytest.mark.parametrize(("v1", "v2"), [(300000, 200000), (200000, 300000)])
def test_hybrid_host_has_the_least_of_both(machine, v1, v2):
    unified = V2_MOUNT.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files = {
        **cgroups("3:cpu,cpuacct:/a\n0::/b\n", V1_MOUNT + unified),
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": f"{v1}\n",
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/unified/b/cpu.max": f"{v2} 100000\n",
    }
    assert usable(machine(files), frozenset(range(8))).quota == 2.0


@pytest.mark.parametrize("path", ["/docker/abc", "/docker/abc/init", "/", "/../../host.slice", "/docker/abcdef"])
def test_container_reads_what_is_mounted(machine, path):
    """The path may be the host's, of which the container's own group alone is mounted."""
    mount = V2_MOUNT.replace(" / ", " /docker/abc ", 1)
    files = {**cgroups(f"0::{path}\n", mount), "sys/fs/cgroup/cpu.max": "200000 100000\n"}
    assert usable(machine(files), frozenset(range(8))).quota == 2.0


def test_group_above_what_a_container_sees_is_not_looked_for(machine):
    files = {**cgroups("0::/../other\n", V2_MOUNT), "sys/fs/other/cpu.max": "100000 100000\n"}
    files["sys/fs/cgroup/cpu.max"] = "200000 100000\n"
    assert usable(machine(files), frozenset(range(8))).quota == 2.0


def test_container_may_have_a_group_within_what_is_mounted(machine):
    mount = V2_MOUNT.replace(" / ", " /docker/abc ", 1)
    files = {**cgroups("0::/docker/abc/init\n", mount), "sys/fs/cgroup/cpu.max": "400000 100000\n"}
    files["sys/fs/cgroup/init/cpu.max"] = "200000 100000\n"
    assert usable(machine(files), frozenset(range(8))).quota == 2.0


def test_group_of_another_container_that_is_mounted_too_does_not_count(machine):
    other = V2_MOUNT.replace(" / ", " /docker/other ", 1).replace("/sys/fs/cgroup ", "/other ")
    files = {**cgroups("0::/docker/abc\n", other + V2_MOUNT), "other/cpu.max": "100000 100000\n"}
    files["sys/fs/cgroup/docker/abc/cpu.max"] = "300000 100000\n"
    assert usable(machine(files), frozenset(range(8))).quota == 3.0


def test_place_with_a_space_is_found(machine):
    mount = V2_MOUNT.replace("/sys/fs/cgroup ", "/my\\040groups ")
    files = {**cgroups("0::/\n", mount), "my groups/cpu.max": "200000 100000\n"}
    assert usable(machine(files), frozenset(range(8))).quota == 2.0


@pytest.mark.parametrize(
    "text",
    ["", "max 100000", "max", "200000", "0 100000", "200000 0", "-1 100000", "a b", "1e5 100000", "2 3 4", "\xff"],
)
def test_quota_that_is_none_or_cannot_be_read_is_no_limit(machine, text):
    files = {**cgroups("0::/\n", V2_MOUNT), "sys/fs/cgroup/cpu.max": text}
    assert usable(machine(files), TWO).quota is None


@pytest.mark.parametrize("cgroup", ["", "\n\n", "0", "x:y", "0::", "garbage\0", "0::/a:b\n"])
@pytest.mark.parametrize("mounts", ["", " - \n", "1 2 3 - cgroup2", "31 23 0:26 / /x rw -", V1_MOUNT])
def test_malformed_descriptions_are_no_limit(machine, cgroup, mounts):
    assert usable(machine(cgroups(cgroup, mounts)), TWO).count == 2


# --- The choice ------------------------------------------------------------------------------------------------------


def on(count, quota=None):
    return Usable(frozenset(range(count)), count, quota)


def pick(environment, count=4, **more):
    """On a machine that is quiet, since there is no file that says otherwise."""
    return choose(environment, found=on(count), root=Path("/nowhere"), **more)


def test_all_that_is_usable_is_used():
    assert pick({}) == Threads(4, "4 physical cores", None)
    assert str(pick({})) == "4 threads (4 physical cores)"
    assert str(pick({}, 1)) == "1 thread (1 physical core)"
    assert pick({"OMP_NUM_THREADS": " "}) == pick({})


@pytest.mark.parametrize(("text", "count"), [("3", 3), (" 2 ", 2), ("4,2", 4), ("3 , 1", 3), ("1", 1)])
def test_user_decides(text, count):
    assert pick({"OMP_NUM_THREADS": text}) == Threads(count, "OMP_NUM_THREADS", None)


def test_more_threads_than_processors_are_kept_with_a_warning():
    found = pick({"OMP_NUM_THREADS": "64,2"})
    assert (found.count, found.why) == (64, "OMP_NUM_THREADS")
    for words in ("OMP_NUM_THREADS=64, and this process may use 4 (4 physical cores)", "Set OMP_NUM_THREADS=4"):
        assert words in found.warning


@pytest.mark.parametrize("text", ["all", "0", "-2", "2.5", "4,x", "4,", "0x2", "4 2", "4,0"])
def test_value_that_openmp_ignores_is_replaced_with_a_warning(text):
    found = pick({"OMP_NUM_THREADS": text})
    assert (found.count, found.why) == (4, "4 physical cores")
    for words in (f"OMP_NUM_THREADS={text}:", "a whole number from 1", '"Invalid value"', "sets 4 in its place"):
        assert words in found.warning


def test_number_of_a_parent_of_this_package_is_not_the_users():
    assert pick({"OMP_NUM_THREADS": "1", "FUSION_CHOSEN_THREADS": "1"}) == pick({})
    assert pick({"OMP_NUM_THREADS": "64", "FUSION_CHOSEN_THREADS": "64"}).warning is None
    assert pick({"OMP_NUM_THREADS": "2", "FUSION_CHOSEN_THREADS": "1"}) == Threads(2, "OMP_NUM_THREADS")
    assert pick({"FUSION_CHOSEN_THREADS": "1"}) == pick({})


@pytest.mark.parametrize("role", ["scheduler", "server"])
def test_helpers_of_a_job_need_one_thread(role):
    assert pick({"DMLC_ROLE": role, "OMP_NUM_THREADS": "4"}) == Threads(1, f"the {role} of a distributed run")
    assert pick({"DMLC_ROLE": "worker"}).count == 4


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"HOROVOD_LOCAL_SIZE": "2"}, 4),
        ({"HOROVOD_LOCAL_SIZE": "3"}, 2),
        ({"HOROVOD_LOCAL_SIZE": "16"}, 1),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 2),
        ({"DMLC_NUM_WORKER": "2", "DMLC_PS_ROOT_URI": "127.0.0.1"}, 4),
        ({"DMLC_NUM_WORKER": "2", "DMLC_PS_ROOT_URI": "localhost"}, 4),
        ({"DMLC_NUM_WORKER": "2", "DMLC_PS_ROOT_URI": "10.0.0.1"}, 8),
        ({"DMLC_NUM_WORKER": "2"}, 8),
        ({"HOROVOD_LOCAL_SIZE": "many"}, 8),
    ],
)
def test_processes_of_a_job_share_the_machine(environment, count):
    found = pick(environment, 8)
    assert found.count == count
    assert (found.why == "8 physical cores") == (count == 8)
    assert pick({**environment, "OMP_NUM_THREADS": "3"}, 8) == Threads(3, "OMP_NUM_THREADS")


def test_share_is_explained():
    assert pick({"HOROVOD_LOCAL_SIZE": "2"}, 8).why == "a share of 4 for each of 2 processes"


def test_mxnet_that_came_first_has_taken_its_number():
    found = pick({}, 8, imported=True)
    assert found.count == 4
    assert "MXNet was imported before fusion" in found.why
    assert "import fusion before import mxnet" in found.warning
    kept = pick({"OMP_NUM_THREADS": "3"}, 8, imported=True)
    assert (kept.count, kept.warning) == (3, None)
    assert "MXNet was imported before fusion" in kept.why


# --- Company ---------------------------------------------------------------------------------------------------------


def stat(*busy, passed):
    """proc/stat of processors whose times so far are given, in ticks; every kind of work has a part of `busy`."""
    lines = ["cpu  1 1 1 1 1 1 1 1 0 0"]
    for number, ticks in enumerate(busy):
        part, waiting = ticks // 6, (passed - ticks) // 2
        work = [ticks - 5 * part, part, part, passed - ticks - waiting, waiting, part, part, part]
        lines.append(" ".join(map(str, [f"cpu{number}", *work, 7 * ticks, 7 * ticks])))
    return "\n".join([*lines, "intr 5 0 0", "ctxt 3", ""])


def look(machine, busy, own=0.0, load=BUSY, environment=None, found=None):
    """The choice of a process, which sees processors busy for so many of 20 ticks."""
    before = [100] * len(busy)
    root = machine(stat=stat(*before, passed=1000), loadavg=load)
    watched, seconds = [], [5.0]

    def sleep(wanted):
        watched.append(wanted)
        seconds[0] += own
        machine(stat=stat(*(100 + ticks for ticks in busy), passed=1020))

    found = found or on(len(busy))
    return choose(environment or {}, found=found, root=root, sleep=sleep, own=lambda: seconds[0]), watched


def test_processors_in_use_are_left_to_others(machine):
    found, watched = look(machine, (20, 0))
    assert found == Threads(1, "1 of 2: other programs keep 1.0 processors busy")
    assert watched == [0.2]


@pytest.mark.parametrize(
    ("busy", "count"),
    [((0, 0, 0, 0), 4), ((9, 0, 0, 0), 4), ((11, 0, 0, 0), 3), ((10, 10, 10, 2), 2), ((20, 20, 20, 20), 1)],
)
def test_others_are_rounded_and_one_thread_always_runs(machine, busy, count):
    assert look(machine, busy)[0].count == count


def test_own_work_is_not_company(machine):
    assert look(machine, (20, 0), own=20 / TICKS)[0].count == 2
    assert look(machine, (20, 20), own=20 / TICKS)[0].count == 1


def test_quiet_machine_and_single_thread_do_not_wait(machine):
    assert look(machine, (20, 0), load=QUIET)[1] == []
    assert look(machine, (20, 0), environment={"OMP_NUM_THREADS": "2"})[1] == []
    assert look(machine, (20, 0), environment={"HOROVOD_LOCAL_SIZE": "2"})[1] == []
    assert look(machine, (20,))[1] == []


def test_only_the_processors_that_this_process_may_use_count(machine):
    found = Usable(frozenset({2, 3}), 2)
    assert look(machine, (20, 20, 0, 0), found=found)[0].count == 2
    assert look(machine, (0, 0, 0, 20), found=found)[0].count == 1


def test_quota_leaves_room_for_others_on_a_large_machine(machine):
    crowded = (20,) * 4 + (0,) * 4
    assert look(machine, crowded, found=on(8, quota=2.0))[0].count == 2
    assert look(machine, (20,) * 7 + (0,), found=on(8, quota=2.0))[0].count == 1


def test_processes_of_a_job_that_compute_already_do_not_take_from_a_share(machine):
    job = {"HOROVOD_LOCAL_SIZE": "2"}
    assert look(machine, (20, 20, 0, 0), environment=job)[0].count == 2
    assert look(machine, (20, 20, 20, 0), environment=job)[0].count == 1


def test_worker_of_the_launcher_takes_its_number_and_does_not_look_around(machine):
    job = {"DMLC_ROLE": "worker", "DMLC_NUM_WORKER": "2", "DMLC_PS_ROOT_URI": "127.0.0.1"}
    crowded = (20,) * 7 + (0,)
    for number, count in (("3", 3), ("9", 4)):
        given = {"OMP_NUM_THREADS": number, "FUSION_CHOSEN_THREADS": number}
        expected = Threads(count, f"a share of {count} for each of 2 processes"), []
        assert look(machine, crowded, environment={**job, **given}) == expected
    by_hand, watched = look(machine, crowded, environment=job)
    assert (by_hand.count, watched) == (1, [0.2])


def test_unparsable_value_is_replaced_by_what_others_leave(machine):
    found, _ = look(machine, (20, 0), environment={"OMP_NUM_THREADS": "all"})
    assert found.count == 1
    assert "sets 1 in its place (1 of 2: other programs" in found.warning


@pytest.mark.parametrize(
    "text", ["", "cpu0\n", "cpu0 a b c d e f g h\n", "cpu0 1 2 3\ncpu1 1 2 3\n", "cpu9 1 1 1 1 1 1 1 1\n"]
)
def test_machine_that_does_not_say_who_is_busy_is_quiet(machine, text):
    root = machine(stat=text, loadavg=BUSY)
    assert choose({}, found=on(2), root=root, sleep=lambda seconds: None, own=lambda: 0.0).count == 2


@pytest.mark.parametrize("text", ["", "x 1 2", "nan 1 2", "0.69 9 9 1/1 1"])
def test_load_that_is_low_or_cannot_be_read(machine, text):
    assert look(machine, (20, 0), load=text)[1] == []


def epoch(machine, busy, threads, cores=2, own=0.0):
    """The advice at the end of an epoch of 1000 ticks."""
    seconds = [3.0]
    company = Company(on(cores), machine(stat=stat(*[0] * cores, passed=0)), lambda: seconds[0])
    machine(stat=stat(*[7] * cores, passed=500))
    company.begin()
    machine(stat=stat(*(7 + ticks for ticks in busy), passed=1500))
    seconds[0] += own
    return company, company.advice(threads, "--resume runs/x")


def test_company_that_came_later_is_told_once_with_what_to_do(machine):
    company, advice = epoch(machine, (1000, 1000), 2, own=1000 / TICKS)
    assert "other programs kept 1.0 of 2 processors busy" in advice
    assert "this run uses 2 threads" in advice
    assert "OMP_NUM_THREADS=1 and --resume runs/x" in advice
    assert company.busy() == 1.0
    assert company.advice(2, "") is None


@pytest.mark.parametrize(
    ("busy", "threads", "cores", "told"),
    [
        ((500, 0), 2, 2, False),
        ((400, 0), 3, 2, False),
        ((600, 0), 2, 2, True),
        ((1000, 1000), 1, 2, False),
        ((1000, 0, 0, 0), 3, 4, False),
        ((1000, 1000, 0, 0), 3, 4, True),
    ],
)
def test_advice_is_for_too_many_threads_only(machine, busy, threads, cores, told):
    assert (epoch(machine, busy, threads, cores)[1] is not None) is told


def test_more_own_work_than_the_system_has_counted_is_no_company(machine):
    company, advice = epoch(machine, (500, 0), 2, own=600 / TICKS)
    assert (company.busy(), advice) == (0.0, None)


# --- What is set -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch):
    """`prepare` as in a process that has not imported MXNet; modules that are pretended may be named."""

    def prepare(environment, *modules, found=None):
        monkeypatch.setattr(processors, "_chosen", None)
        monkeypatch.setattr(processors, "usable", lambda root: found or on(4))
        monkeypatch.setattr(processors, "_load", lambda root: 0.0)
        names = {name: module for name, module in sys.modules.items() if name.split(".")[0] != "mxnet"}
        with monkeypatch.context() as patch:
            patch.setattr(sys, "modules", {**names, **dict.fromkeys(modules)})
            return processors.prepare(environment)

    return prepare


SPEED = {"MXNET_CPU_PARALLEL_SIZE": "1000000000", "GOMP_SPINCOUNT": "10000"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"OMP_NUM_THREADS": "4", "FUSION_CHOSEN_THREADS": "4", **SPEED}),
        ({"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "2", **SPEED}),
        ({"OMP_NUM_THREADS": "4,2"}, {"OMP_NUM_THREADS": "4,2", **SPEED}),
        (
            {"OMP_NUM_THREADS": "1", "FUSION_CHOSEN_THREADS": "1"},
            {"OMP_NUM_THREADS": "4", "FUSION_CHOSEN_THREADS": "4", **SPEED},
        ),
        (
            {"GOMP_SPINCOUNT": "5", "MXNET_CPU_PARALLEL_SIZE": "6", "OMP_NUM_THREADS": "3"},
            {"GOMP_SPINCOUNT": "5", "MXNET_CPU_PARALLEL_SIZE": "6", "OMP_NUM_THREADS": "3"},
        ),
        (
            {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"},
            {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3", "MXNET_CPU_PARALLEL_SIZE": "1000000000"},
        ),
        (
            {"DMLC_ROLE": "server", "OMP_NUM_THREADS": "3"},
            {"DMLC_ROLE": "server", "OMP_NUM_THREADS": "1", "FUSION_CHOSEN_THREADS": "1", **SPEED},
        ),
    ],
)
def test_variables_are_set_where_the_user_has_not(fresh, before, after):
    environment = dict(before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh(environment)
    assert environment == after


def test_choice_is_made_and_warned_of_once(fresh):
    environment = {"OMP_NUM_THREADS": "some"}
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS=some: expected") as warned:
        first = fresh(environment)
        assert processors.prepare({}) is first
        assert processors.chosen() is first
    assert len(warned) == 1
    assert environment["OMP_NUM_THREADS"] == environment["FUSION_CHOSEN_THREADS"] == "4"
    with warnings.catch_warnings():  # a child, which inherits that
        warnings.simplefilter("error")
        assert fresh(environment).count == 4


def test_user_who_asks_for_too_much_is_warned(fresh):
    with pytest.warns(RuntimeWarning, match="OMP_NUM_THREADS=5, and this process may use 4"):
        fresh({"OMP_NUM_THREADS": "5"})


@pytest.mark.parametrize("module", ["mxnet", "mxnet.base"])
def test_nothing_is_set_once_mxnet_is_imported(fresh, module):
    environment = {}
    with pytest.warns(RuntimeWarning, match="import fusion before import mxnet"):
        assert fresh(environment, module).count == 2
    assert environment == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fresh({"OMP_NUM_THREADS": "3"}, module).count == 3


# --- In processes of their own ---------------------------------------------------------------------------------------

#: What MXNet's library found when it was loaded, and how many threads OpenMP then has.
REPORT = """
import ctypes, json, os
from fusion.processors import chosen
names = ("OMP_NUM_THREADS", "FUSION_CHOSEN_THREADS", "GOMP_SPINCOUNT", "MXNET_CPU_PARALLEL_SIZE")
threads = ctypes.CDLL("libgomp.so.1").omp_get_max_threads()
print(json.dumps([chosen().count, threads, {name: os.environ.get(name) for name in names}]))
"""


def report(before, variables=None):
    """Code in a process in which nobody has set a number of threads, and all that is said there."""
    ours = ("OMP_", "GOMP_", "FUSION_CHOSEN", "MXNET_CPU_PARALLEL", "DMLC_", "HOROVOD_", "OMPI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = {**kept, "PYTHONPATH": str(ROOT), **(variables or {})}
    command = [sys.executable, "-c", before + REPORT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return (*json.loads(done.stdout), done.stderr)


#: Spies on the environment in which MXNet is imported.
SPY = """
import importlib.abc, os, sys
class Spy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "mxnet" and not seen:
            seen.update(os.environ)
seen = {}
sys.meta_path.insert(0, Spy())
import fusion
for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "MXNET_CPU_PARALLEL_SIZE"):
    assert seen[name] == os.environ[name], name
"""


def test_import_sets_the_variables_before_mxnet_and_says_nothing():
    count, threads, variables, said = report(SPY)
    assert 1 <= count == threads <= len(os.sched_getaffinity(0))
    assert variables == {"OMP_NUM_THREADS": str(count), "FUSION_CHOSEN_THREADS": str(count), **SPEED}
    assert said == ""


def test_import_leaves_the_users_values():
    own = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "77", "MXNET_CPU_PARALLEL_SIZE": "300000"}
    assert report(SPY, own) == (1, 1, {**own, "FUSION_CHOSEN_THREADS": None}, "")


def test_import_after_mxnet_says_what_to_do():
    code = "import numpy\nnumpy.bool = bool\nimport mxnet\nimport fusion\n"
    count, threads, variables, said = report(code)
    assert count == threads == max(1, len(os.sched_getaffinity(0)) // 2)
    assert set(variables.values()) == {None}
    assert "RuntimeWarning: MXNet was imported before fusion" in said
    assert report(code, {"OMP_NUM_THREADS": "1"})[3] == ""


def test_a_child_is_told_its_number_as_a_user_would():
    before = {"OMP_NUM_THREADS": "4", processors.MARKER: "4", "HOME": "/"}
    found = processors.with_threads(before, 3)
    assert found == {"OMP_NUM_THREADS": "3", "HOME": "/"}
    assert processors.users_value(found) == "3"
    assert before[processors.MARKER] == "4"
