"""Documents: what is read, where it stood, and what each mistake says."""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from simulator.documents import (
    Document,
    Mark,
    Source,
    Status,
    graft,
    keys_of,
    merge,
    override,
    parse_document,
    read_document,
    validate,
)
from simulator.errors import DocumentError, ScenarioError, SimulatorError
from simulator.fields import (
    GB,
    GB_PER_S,
    MICROSECONDS,
    TFLOP_PER_S,
    WATTS,
    Count,
    Flag,
    NonNegative,
    Positive,
    Text,
    record,
)


class Format(StrEnum):
    BF16 = "bf16"
    FP8 = "fp8"


@record
class Tier:
    name: Text
    latency: Annotated[NonNegative, MICROSECONDS]


@record
class Ring:
    kind: Literal["ring"]
    hops: Count


@record
class Tree:
    kind: Literal["tree"]
    depth: Count


@record
class Part:
    name: Text
    memory: Annotated[Positive, GB]
    power: Annotated[Positive, WATTS] | None
    peak_flop_rate: Annotated[dict[Format, Positive], TFLOP_PER_S]
    bus_bandwidth: Annotated[dict[int, Positive], GB_PER_S]
    tiers: tuple[Tier, ...]
    wiring: Annotated[Ring | Tree, Field(discriminator="kind")]
    default: Format
    shared: bool
    count: Count = 1
    quiet: Flag = False


@record
class Derived(Part):
    reserve: Annotated[Positive, GB]


GOOD = """\
name: part
memory_gb: 80
power_w: null
peak_flop_rate_tflop_per_s: {bf16: 989, fp8: 1979.5}
bus_bandwidth_gb_per_s: {2: 300, 8: 400}
tiers:
  - {name: leaf, latency_us: 0.5}
wiring: {kind: tree, depth: 3}
default: fp8
shared: true
"""


def parse(text: str) -> Document:
    return parse_document(text, "s.yaml")


def problems(document: Document, cls: type = Part) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        validate(cls, document)
    return [str(problem) for problem in caught.value.problems]


def problem_with(key: str, value: str) -> str:
    """Return the one line that a good part with one value replaced is refused with."""
    (line,) = problems(override(parse(GOOD), key, value))
    return line


# --- records -------------------------------------------------------------------------------------


def test_a_record_is_read_in_si() -> None:
    part = validate(Part, parse(GOOD))
    assert part == Part(
        name="part",
        memory=80e9,
        power=None,
        peak_flop_rate={Format.BF16: 989e12, Format.FP8: 1979.5e12},
        bus_bandwidth={2: 300e9, 8: 400e9},
        tiers=(Tier(name="leaf", latency=0.5e-6),),
        wiring=Tree(kind="tree", depth=3),
        default=Format.FP8,
        shared=True,
    )
    assert isinstance(part.tiers, tuple)
    assert isinstance(part.memory, float)


def test_a_derived_record_keeps_the_units_of_its_base() -> None:
    derived = validate(Derived, parse(GOOD + "reserve_gb: 2\n"))
    assert (derived.memory, derived.reserve) == (80e9, 2e9)


def test_keys_are_the_fields_with_their_units_in_order() -> None:
    assert keys_of(Tier) == ("name", "latency_us")
    assert keys_of(Derived)[1] == "memory_gb"
    assert keys_of(Derived)[-1] == "reserve_gb"


# --- quantities and sources ----------------------------------------------------------------------


def test_a_quantity_is_its_value_and_leaves_its_source() -> None:
    text = """\
memory_gb: {value: 80, source: "Data sheet", status: published, note: usable}
peak: {value: {bf16: 989, fp8: {value: 1979, source: own run, status: measured}}, source: S}
list: {value: [1, 2], status: fitted}
bare: {value: 3}
"""
    document = parse(text)
    assert document.data == {
        "memory_gb": 80,
        "peak": {"bf16": 989, "fp8": 1979},
        "list": [1, 2],
        "bare": 3,
    }
    assert document.sources == {
        ("memory_gb",): Source("Data sheet", Status.PUBLISHED, "usable"),
        ("peak", "bf16"): Source("S", None),
        ("peak", "fp8"): Source("own run", Status.MEASURED),
        ("list",): Source("", Status.FITTED),
    }


def test_a_badly_sourced_quantity_is_reported_with_the_other_mistakes() -> None:
    text = GOOD.replace("80", "{value: -1, sourc: x, status: x}").replace("fp8\n", "fp9\n")
    assert problems(parse(text)) == [
        "s.yaml:2: memory_gb.sourc: unknown key; a quantity has: value, source, status, note",
        "s.yaml:2: memory_gb.status: must be one of measured, published, fitted, assumed, got 'x'",
        "s.yaml:2: memory_gb: must be greater than 0, got -1",
        "s.yaml:9: default: must be 'bf16' or 'fp8', got 'fp9'; did you mean 'fp8'?",
    ]


@pytest.mark.parametrize("value", ["3", "[a]", "{a: 1}", "''"])
def test_a_source_that_is_no_text_is_a_problem(value: str) -> None:
    (line,) = problems(parse(GOOD.replace("80", f"{{value: 80, source: {value}}}")))
    assert "memory_gb.source: must be text, got" in line


def test_a_near_miss_of_a_status_is_suggested() -> None:
    (line,) = problems(parse(GOOD.replace("80", "{value: 80, source: x, status: Measured}")))
    assert line.endswith("did you mean 'measured'?")


# --- YAML 1.2 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9),
        ("010", 10),
        ("0x1F", 31),
        ("16_384", 16384),
        ("-2.5", -2.5),
        (".5", 0.5),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("'8'", "8"),
        ("!!str 8", "8"),
        ("true", True),
        ("~", None),
        ("", None),
        ("-.inf", float("-inf")),
        ("9" * 5000, float("inf")),
        ("_1", "_1"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    for directive in ("", "%YAML 1.1\n---\n"):
        read = parse(f"{directive}a: {text}\n").data["a"]
        assert read == value
        assert type(read) is type(value)


def test_octal_numbers_are_marked_as_such() -> None:
    assert parse("a: 0o17\nb: 017\n").data == {"a": 15, "b": 17}


def test_a_mark_is_the_line_of_the_key_or_of_the_list_item() -> None:
    document = parse("# comment\na:\n  b:\n    1\nc:\n- x\n- y\n8: z\n")
    assert document.marks[()] == Mark("s.yaml", 2)
    assert document.marks["a", "b"] == Mark("s.yaml", 3)
    assert document.marks["c", 1] == Mark("s.yaml", 7)
    assert document.marks[8,] == Mark("s.yaml", 8)
    assert document.mark(("a", "absent", "deeper")) == Mark("s.yaml", 2)


def test_an_alias_is_what_it_stands_for() -> None:
    assert parse("a: &x {k: 1}\nb: *x\nc: &x 2\nd: *x\n").data["d"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml: is empty"),
        ("# only this\n", "s.yaml: is empty"),
        ("- 1\n", "s.yaml:1: must hold a mapping"),
        ("\n\nword\n", "s.yaml:3: must hold a mapping"),
        ("a: 1\nb: c: d\n", "s.yaml:2: not valid YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1\n", "s.yaml:2: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "s.yaml:3: key 'a' was already given at s.yaml:1"),
        ("x:\n  1: a\n  0x1: b\n", "s.yaml:3: key 1 was already given at s.yaml:2"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2: not valid YAML"),
        ("a: \x00", "s.yaml: not valid YAML"),
        ("a: !!python/name:os.system x", "s.yaml:1: tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("a: !mine [1]", "s.yaml:1: tag '!mine' is not supported"),
        ("a: {<<: {b: 1}}", "s.yaml:1: merge keys (<<)"),
        ("true: 1", "s.yaml:1: a key must be text or a whole number, got true"),
        ("1.5: 1", "s.yaml:1: a key must be text or a whole number, got 1.5"),
        ("? [a]\n: 1", "s.yaml:1: a key must be text or a whole number, got a mapping or a list"),
        ("a: " + "[" * 60 + "]" * 60, "is nested more than 40 levels deep"),
        ("a: " + "[" * 2000, "is nested more than 40 levels deep"),
        ("a: &x [*x]", "is nested more than 40 levels deep"),
        ("a: &x {value: *x}", "is nested more than 40 levels deep"),
        (
            "\n".join(["a0: [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 3))]),
            "s.yaml:2: not valid YAML: found undefined alias",
        ),
    ],
)
def test_a_text_that_is_no_document_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(DocumentError, match="more than 100000 values"):
        parse("\n".join(lines))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="ab:- \n[]{}&*!%?'\"|>#\t,1.<~\\U0x\u0085\ufeff")))
def test_no_text_does_worse_than_a_simulator_error(text: str) -> None:
    try:
        document = parse(text)
        validate(Part, document)
    except SimulatorError as error:
        assert str(error)  # noqa: PT017 - texts that are documents need not raise


# --- files ---------------------------------------------------------------------------------------


def test_a_file_is_read_with_its_name_as_mark(tmp_path: Path) -> None:
    file = tmp_path / "part.yaml"
    file.write_text("\ufeff" + GOOD, encoding="utf-8")
    document = read_document(file)
    assert document.data["memory_gb"] == 80
    assert str(document.marks["memory_gb",]) == f"{file}:2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a: \xff\xfe", "is not UTF-8 text (byte 3)"),
        (b"a: 1\n" + b"#" * 2**20, "is larger than 1 MiB"),
    ],
)
def test_an_unreadable_content_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        read_document(file)
    assert str(caught.value) == f"{file}: {message}"


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="is a directory, not a YAML file"):
        read_document(tmp_path)
    with pytest.raises(DocumentError, match=r"none\.yaml: no such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(DocumentError, match="cannot be read"):
        read_document("nul\0byte")
    with pytest.raises(DocumentError, match="cannot be read"):
        read_document("x" * 5000)


def test_a_file_without_permission_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, who may run the tests, reads any file
    with pytest.raises(DocumentError, match=r"^secret\.yaml: cannot be read: Permission denied$"):
        read_document("secret.yaml")


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("count", "8.5", "must be a whole number, got 8.5"),
        ("count", "'8'", "must be a whole number, got '8'"),
        ("count", "true", "must be a whole number, got true"),
        ("count", "0", "must be at least 1, got 0"),
        ("count", "1" + "0" * 30, "must be at most 1e+09, got 1000000000000000000000000000000"),
        ("count", "[1]", "must be a whole number, got a list"),
        ("memory_gb", "-3", "must be greater than 0, got -3"),
        ("memory_gb", "true", "must be a number, got true"),
        ("memory_gb", ".nan", "must be a finite number, got nan"),
        ("memory_gb", ".inf", "must be a finite number, got inf"),
        ("memory_gb", "9" * 5000, "must be a finite number, got inf"),
        ("memory_gb", "1e30", "must be at most 1e+18, got 1e+30"),
        ("memory_gb", "null", "must be a number, got nothing (null)"),
        ("memory_gb", "{a: 1}", "must be a number, got a mapping"),
        ("name", "''", "must be text of at least 1 character(s), got ''"),
        ("name", "8", "must be text, got 8"),
        ("shared", "'yes'", "must be true or false, got 'yes'"),
        ("shared", "1", "must be true or false, got 1"),
        ("quiet", "0", "must be true or false, got 0"),
        ("tiers", "x", "must be a list, got 'x'"),
        ("tiers.0", "x", "must be a mapping, got 'x'"),
        ("tiers.0.latency_us", "-1", "must be at least 0, got -1"),
        ("bus_bandwidth_gb_per_s.8", "0", "must be greater than 0, got 0"),
        ("bus_bandwidth_gb_per_s.x", "1", "must be a whole number, got 'x'"),
        ("peak_flop_rate_tflop_per_s", "[1]", "must be a mapping, got a list"),
        (
            "peak_flop_rate_tflop_per_s.bf61",
            "1",
            "must be 'bf16' or 'fp8', got 'bf61'; did you mean 'bf16'?",
        ),
        ("default", "[fp8]", "must be 'bf16' or 'fp8', got a list"),
        ("wiring.depth", "0", "must be at least 1, got 0"),
        ("wiring", "5", "must be a mapping, got 5"),
    ],
)
def test_a_wrong_value_is_one_clear_line(key: str, value: str, message: str) -> None:
    assert problem_with(key, value) == f"--set {key}: {key}: {message}"


def test_a_whole_number_beyond_floats_is_one_clear_line() -> None:
    line = problem_with("memory_gb", "1" + "0" * 350)
    assert "must be a finite number, got 1000" in line
    assert len(line) < 150


def test_long_and_many_lined_input_is_shown_short_and_on_one_line() -> None:
    assert len(problem_with("default", "x" * 10_000)) < 200
    document = parse(GOOD + '"a\\nb": 1\n' + "k" * 1000 + ": 1\n")
    lines = problems(document)
    assert len(lines) == 2
    assert all("\n" not in line and len(line) < 400 for line in lines)


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("memory", "memory_gb", "unknown key; the unit is part of the key: write 'memory_gb'"),
        ("memory_gib", "memory_gb", "unknown key; did you mean 'memory_gb'?"),
        ("sharde", "shared", "unknown key; did you mean 'shared'?"),
    ],
)
def test_a_misspelt_key_is_one_mistake_not_two(wrong: str, right: str, message: str) -> None:
    text = GOOD.replace(f"\n{right}:", f"\n{wrong}:")
    (line,) = problems(parse(text))
    assert line.endswith(f": {wrong}: {message}")


def test_a_nested_unknown_key_is_suggested_from_its_own_record() -> None:
    (line,) = problems(parse(GOOD.replace("name: leaf", "nam: leaf")))
    assert line == "s.yaml:7: tiers.0.nam: unknown key; did you mean 'name'?"


def test_a_key_like_nothing_known_lists_what_is_allowed() -> None:
    (line,) = problems(parse(GOOD + "zebra: 1\n"))
    assert line.startswith("s.yaml:11: zebra: unknown key; allowed here: name, memory_gb, power_w")


def test_a_missing_key_names_the_mapping_it_is_missing_from() -> None:
    text = GOOD.replace("name: part\n", "").replace(", latency_us: 0.5", "")
    assert problems(parse(text)) == [
        "s.yaml:1: name: required key is missing",
        "s.yaml:6: tiers.0.latency_us: required key is missing",
    ]


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        ("{kind: three, depth: 3}", "wiring.kind: must be 'ring' or 'tree', got 'three'; did you"),
        ("{depth: 3}", "wiring.kind: required key is missing"),
        ("{kind: ring}", "wiring.hops: required key is missing"),
        ("{kind: ring, hop: 3}", "wiring.hop: unknown key; did you mean 'hops'?"),
        ("{kind: ring, hops: 2, zebra: 3}", "wiring.zebra: unknown key; allowed here: kind, hops"),
    ],
)
def test_mistakes_in_a_union_speak_of_the_chosen_record(wiring: str, message: str) -> None:
    (line,) = problems(parse(GOOD.replace("{kind: tree, depth: 3}", wiring)))
    assert line.startswith(f"s.yaml:8: {message}")


def test_a_key_without_its_unit_hides_no_mistake_of_the_right_one() -> None:
    lines = problems(parse(GOOD.replace("80", "-80") + "memory: 80\n"))
    assert lines[0] == "s.yaml:2: memory_gb: must be greater than 0, got -80"
    assert lines[1].startswith("s.yaml:11: memory: unknown key; the unit is part of the key")


def test_all_mistakes_come_at_once_in_the_order_of_lines() -> None:
    text = GOOD.replace("80", "0").replace("true", "maybe").replace("depth: 3", "depth: -1")
    lines = problems(parse(text + "zebra: 1\n"))
    assert [line.split(":")[1] for line in lines] == ["2", "8", "10", "11"]


# --- merge, graft, override ----------------------------------------------------------------------


def test_merge_lets_the_upper_win_with_its_marks_and_sources() -> None:
    base = parse_document(
        "a: {x: {value: 1, source: S}, y: {value: 2, source: T}}\nl: [1, 2]\nk: 1\n", "base.yaml"
    )
    over = parse_document("\na: {x: 9}\nl: [3]\nk: {m: 1}\n", "over.yaml")
    merged = merge(base, over)
    assert merged.data == {"a": {"x": 9, "y": 2}, "l": [3], "k": {"m": 1}}
    assert merged.sources == {("a", "y"): Source("T", None)}
    assert str(merged.marks["a", "x"]) == "over.yaml:2"
    assert str(merged.marks["a", "y"]) == "base.yaml:1"
    assert ("l", 1) not in merged.marks
    assert base.data["a"] == {"x": 1, "y": 2}


def test_graft_keeps_the_marks_of_the_child() -> None:
    child = parse_document("name: leaf\nlatency_us: {value: -1, source: S}\n", "tier.yaml")
    document = graft(parse(GOOD), ("tiers", 0), child)
    assert document.sources["tiers", 0, "latency_us"].text == "S"
    assert problems(document) == [
        "tier.yaml:2: tiers.0.latency_us: must be at least 0, got -1",
    ]
    assert document.part(("tiers", 0)).marks == child.marks
    assert graft(document, (), child).data == child.data


def test_override_sets_one_value_and_leaves_the_rest() -> None:
    before = parse(GOOD)
    after = override(before, "wiring.depth", "5")
    assert validate(Part, after).wiring == Tree(kind="tree", depth=5)
    assert after.marks["wiring", "depth"] == Mark("--set wiring.depth", None)
    assert before.data["wiring"]["depth"] == 3
    assert override(before, "wiring", "{kind: ring, hops: 1}").data["wiring"] == {
        "kind": "ring",
        "hops": 1,
    }


def test_override_creates_what_is_missing_and_finds_whole_number_keys() -> None:
    document = override(parse("a: null\n"), "a.b.8.c", "[1, x]")
    assert document.data == {"a": {"b": {8: {"c": [1, "x"]}}}}
    assert str(document.mark(("a", "b"))) == "--set a.b.8.c"
    assert override(parse("a: {'8': 1}"), "a.8", "2").data == {"a": {"8": 2}}


def test_override_drops_the_source_of_what_it_replaces() -> None:
    text = "m: {value: {a: 1, b: 2}, source: S, status: assumed}\n"
    assert set(override(parse(text), "m.a", "3").sources) == {("m", "b")}
    assert not override(parse(text), "m", "{a: 3}").sources


@pytest.mark.parametrize("key", ["", ".", "a..b", ".a", "a.", "a b", "a=b", "ä", "x" * 100])
def test_a_malformed_option_key_is_refused(key: str) -> None:
    with pytest.raises(ScenarioError, match="--set: expected a dotted key"):
        override(parse(GOOD), key, "1")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name.x", "1", "name.x: cannot be set: name is 'part', not a mapping"),
        ("count.x", "1", "count.x: cannot be set: count is 7, not a mapping"),
        ("tiers.1.name", "x", "tiers.1: cannot be set: tiers is a list of 1, counted from 0"),
        ("tiers.x", "1", "tiers.x: cannot be set: tiers is a list of 1, counted from 0"),
        ("name", " ", "name: no value given; write null for none"),
    ],
)
def test_an_option_that_leads_nowhere_is_refused(key: str, value: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        override(parse(GOOD + "count: 7\n"), key, value)
    assert str(caught.value) == f"--set {key}: {message}"


def test_an_option_that_is_no_yaml_is_refused_without_a_line() -> None:
    with pytest.raises(DocumentError, match=r"^--set name: not valid YAML: "):
        override(parse(GOOD), "name", "[1, ")


def flow(value: object) -> str:
    """Return ``value`` in YAML's flow style."""
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {flow(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


keys = st.from_regex(r"k[a-z0-9_-]{0,6}", fullmatch=True)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.from_regex(r"[a-z0-9 :#.]{0,5}", fullmatch=True)
)
plain_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(path=st.lists(keys, min_size=1, max_size=4), value=plain_values)
def test_what_is_set_is_what_is_there(path: list[str], value: object) -> None:
    document = override(parse("other: 1\n"), ".".join(path), flow(value))
    assert document.get(tuple(path)) == value
    assert document.get(("other",)) == 1
    assert override(document, ".".join(path), flow(value)) == document
