"""Tables as people have them: every format gives the same rows, and every fault one line that says where."""

from __future__ import annotations

import gzip
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scaling_lab.errors import BadInput, LabError, UsageError
from scaling_lab.quantities import ALIASES, QUANTITIES, format_quantity, parse_assignments, parse_number
from scaling_lab.tables import Rows, column_numbers, read_table, rows_for

INPUTS = ("params", "tokens")
FRAME = pd.DataFrame(
    {
        "run_id": ["a", "b", "c", "d"],
        "params": [1e7, 7e9, 123456789.0, 1.0e10],
        "tokens": [1.4e12, 3.3e9, 5e10 + 1, 2.5e9],
        "loss": [3.1000000000000001, 2.7182818284590451, 0.1 + 0.2, 5.0],
        "schedule": ["cosine", "wsd", "constant", "cosine"],
    }
)
CSV = FRAME.to_csv(index=False)
# A table that each bad-input case spoils in one place: the third data row, which is line 4.
GOOD = "run_id,params,tokens,loss\nr1,1e7,1e9,3.5\nr2,1e8,1e9,3.2\nr3,1e8,1e10,2.9\nr4,1e9,1e10,2.6\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a file of text or bytes and returns its path."""

    def write_file(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def rows(source: object, **how: object) -> Rows:
    """The rows of a table for a law in params and tokens."""
    drop_bad = bool(how.pop("drop_bad", False))
    return rows_for(read_table(source, **how), INPUTS, drop_bad=drop_bad)  # type: ignore[arg-type]


def fault_of(path: object, **how: object) -> BadInput:
    """The BadInput that the table raises."""
    with pytest.raises(BadInput) as caught:
        rows(path, **how)
    return caught.value


# ----------------------------------------------------------------------------------------------------------- formats


def parquet(frame: pd.DataFrame) -> bytes:
    """The frame as the bytes of a Parquet file."""
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


FORMATS = {
    "t.csv": CSV.encode(),
    "t.tsv": FRAME.to_csv(index=False, sep="\t").encode(),
    "t.jsonl": FRAME.to_json(orient="records", lines=True, double_precision=15).encode(),
    "t.parquet": parquet(FRAME),
    "t.csv.gz": gzip.compress(CSV.encode(), mtime=0),
    "t.tsv.gz": gzip.compress(FRAME.to_csv(index=False, sep="\t").encode()),
    "t.jsonl.gz": gzip.compress(FRAME.to_json(orient="records", lines=True, double_precision=15).encode()),
    "t.parquet.gz": gzip.compress(parquet(FRAME), mtime=0),
    "named-nothing": FRAME.to_csv(index=False, sep="\t").encode(),
    "crlf.csv": CSV.replace("\n", "\r\n").encode(),
    "old-mac.csv": CSV.replace("\n", "\r").encode(),
    "bom.csv": CSV.encode("utf-8-sig"),
    "no-last-newline.csv": CSV.rstrip("\n").encode(),
    "blank-lines.csv": b"\n\n" + CSV.replace("\n", "\n\n").encode() + b"\n,,,,\n  \n",
    "spaces.csv": CSV.replace(",", " , ").encode(),
    "quoted.csv": FRAME.to_csv(index=False, quoting=1).encode(),
    "trailing-comma.csv": CSV.replace("\n", ",\n").encode(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name: str, write: Write) -> None:
    found = rows(write(FORMATS[name], name))
    exact = "jsonl" not in name  # pandas writes JSON with 15 digits
    for column, values in (("params", found.x["params"]), ("tokens", found.x["tokens"]), ("loss", found.y)):
        np.testing.assert_allclose(values, FRAME[column], rtol=0 if exact else 1e-14)
    assert [g.strip() for g in found.group] == list("abcd")
    assert (found.read, found.used, dict(found.dropped)) == (4, 4, {})


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.csv.gz"])
def test_stdin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(FORMATS[name])))
    found = rows("-")
    assert (found.used, found.name) == (4, "stdin")


def test_a_frame_is_a_table() -> None:
    found = rows(FRAME)
    np.testing.assert_array_equal(found.y, FRAME["loss"])
    assert found.lines.tolist() == [0, 1, 2, 3]
    named = FRAME.set_index("run_id")
    assert rows(named).group.tolist() == list("abcd"), "an index with a name is a column"
    assert rows(FRAME[::-1]).lines.tolist() == [0, 1, 2, 3]
    assert rows(read_table(FRAME)).used == 4, "a Table is read once and passes through"
    assert rows(read_table(FRAME), where="params < 1B").read == 4


def test_a_parquet_index_is_a_column(write: Write) -> None:
    assert rows(write(parquet(FRAME.set_index("run_id")), "t.parquet")).group.tolist() == list("abcd")


def test_jsonl_is_flattened(write: Write) -> None:
    lines = [{"config": {"N": 1e7}, "train": {"tokens": 1e9 * i}, "val": {"loss": 3 - i / 10}} for i in (1, 2)]
    table = read_table(write("\n\n".join(map(json.dumps, lines)), "log.jsonl"), mapping={"params": "config/N"})
    assert rows_for(table, INPUTS).y.tolist() == [2.9, 2.8]
    assert table.lines.tolist() == [1, 3]


def test_a_line_separator_inside_json_text_ends_no_line(write: Write) -> None:
    text = '{"params": 1e7, "tokens": 1e9, "loss": 3, "note": "a\u2028b"}\n'
    assert rows(write(text, "t.jsonl")).used == 1


def test_integers_beyond_int64_and_their_products_stay_exact(write: Write) -> None:
    text = "params,tokens,loss\n70000000000,1400000000000,2\n99999999999999999999,1400000000000000,2\n"
    found = rows(write(text))
    assert found.flops is not None
    assert found.flops[0] == 6 * 70e9 * 1.4e12
    assert found.flops[1] == pytest.approx(6 * 1e20 * 1.4e15)
    ints = pd.DataFrame({"params": [70_000_000_000], "tokens": [1_400_000_000_000], "loss": [2]})
    assert rows(ints).flops == pytest.approx(5.88e23)
    where = "6*params*tokens > 5e23"
    assert rows(ints, where=where).used == rows(write(text), where=where, drop_bad=True).used - 1 == 1
    made = rows(ints, mapping={"flops": "6*params*tokens"})
    assert made.flops == pytest.approx(5.88e23)


def test_jsonl_holds_integers_of_any_size(write: Write) -> None:
    line = '{"params": 1' + "0" * 400 + ', "tokens": 1e9, "loss": 3}'
    assert "finite" in str(fault_of(write(line, "t.jsonl")))


# --------------------------------------------------------------------------------------------- numbers people write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7e9", 7e9),
        ("7B", 7e9),
        ("7b", 7e9),
        ("1.5G", 1.5e9),
        ("350M", 350e6),
        ("1.4T", 1.4e12),
        ("512K", 512e3),
        ("1e21", 1e21),
        ("491,520", 491520),
        ("1,234,567.5", 1234567.5),
        ("1_000", 1000),
        (" 7 B ", 7e9),
        (".5", 0.5),
        ("-3.5", -3.5),
        ("+2", 2),
        ("1.", 1),
        (7, 7.0),
    ],
)
def test_numbers(text: str | float, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "B",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "7BB",
        "7 B tokens",
        "1,00",
        "1,2345",
        "0x10",
        "1e",
        "--1",
        ".",
        "e5",
    ],
)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_number(text)


def test_infinity_is_no_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        parse_number(math.inf)


@given(st.floats(min_value=1, max_value=1e20), st.sampled_from(["{:.3g}", "{:r}", "{:,.2f}", "{:e}"]))
def test_a_printed_float_is_read_back(value: float, form: str) -> None:
    text = repr(value) if form == "{:r}" else form.format(value)
    assert parse_number(text) == float(text.replace(",", ""))


@given(st.floats(min_value=1e-3, max_value=9.9e14))
def test_format_quantity_is_within_half_a_percent(value: float) -> None:
    assert parse_number(format_quantity(value)) == pytest.approx(value, rel=5.01e-3)


@pytest.mark.parametrize(("value", "text"), [(7e9, "7B"), (1.4e12, "1.4T"), (9.996e11, "1T"), (5.12e20, "5.12e+20")])
def test_format_quantity(value: float, text: str) -> None:
    assert format_quantity(value) == text


def test_assignments() -> None:
    assert parse_assignments("params=7B,tokens=1.4T") == {"params": 7e9, "tokens": 1.4e12}
    assert parse_assignments(" N = 1,000,000 , D=2e9, w_web=.5") == {"params": 1e6, "tokens": 2e9, "w_web": 0.5}


@pytest.mark.parametrize(
    "text",
    [
        *("", "params", "params=", "=7B", "params=7B,", "params=7B,,tokens=1T", "params=seven", "params=1e999"),
        *("params=7B,N=7B", "params=7B tokens=1T", "params==7B", "7B", "params=nan"),
    ],
)
def test_assignments_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match=r"NAME=NUMBER|not a number|twice"):
        parse_assignments(text)


def test_an_alias_belongs_to_one_quantity() -> None:
    names = [alias for q in QUANTITIES.values() for alias in (q.name, *q.aliases)]
    assert len(names) == len(set(names)) == len(ALIASES)


def test_suffixes_in_cells(write: Write) -> None:
    found = rows(write('params,tokens,loss\n7B,1.4T,2\n350M,"491,520,000",3\n1e9, 512K ,3.5\n'))
    assert found.x["params"].tolist() == [7e9, 350e6, 1e9]
    assert found.x["tokens"].tolist() == [1.4e12, 491_520_000, 512e3]


# ------------------------------------------------------------------------------------------------------ column names


def test_aliases_are_taken_and_named(write: Write) -> None:
    found = rows(write("N,D,val_loss\n1e7,1e9,3.5\n"))
    assert found.notes == (
        "params is taken from column 'N'",
        "tokens is taken from column 'D'",
        "loss is taken from column 'val_loss'",
    )
    assert found.inputs["params"]["column"] == "N"
    assert found.inputs["params"]["counts"] == "total"


def test_case_is_forgiven_where_it_says_nothing(write: Write) -> None:
    assert rows(write("Params,TOKENS,Val_Loss\n1e7,1e9,3.5\n")).used == 1
    assert "no column 'params'" in str(fault_of(write("n,D,loss\n1e7,1e9,3.5\n"))), "n is not N"


def test_where_two_names_fit_the_note_says_so(write: Write) -> None:
    found = rows(write("params,tokens,train_loss,val_loss\n1e7,1e9,3.5,3.6\n"))
    assert found.y.tolist() == [3.6]
    assert "not 'train_loss'" in found.notes[0]


def test_a_header_with_spaces_and_slashes(write: Write) -> None:
    path = write("N params, seen tokens ,val/loss\n7B,1T,2\n1B,1T,3\n")
    mapping = {"params": "N params", "tokens": "seen tokens"}
    assert rows(path, mapping=mapping).y.tolist() == [2, 3]
    assert rows(path, mapping=mapping, where="`val/loss` < 3 and `N params` > 1B").y.tolist() == [2]
    assert rows(path, mapping={**mapping, "loss": "`val/loss` * 0.5"}).y.tolist() == [1, 1.5]


def test_map_takes_columns_arithmetic_and_constants(write: Write) -> None:
    path = write("step,batch,size,bits\n10,512,7B,3\n20,512,1B,2.5\n")
    mapping = {"params": "size / 2", "tokens": "step * batch * 2K", "loss": "bits * 0.5 ** 1 + -1e-1"}
    found = rows(path, mapping=mapping)
    assert found.x["tokens"].tolist() == [10 * 512 * 2000, 20 * 512 * 2000]
    assert found.x["params"].tolist() == [3.5e9, 5e8]
    assert found.y == pytest.approx([1.4, 1.15])
    assert "as asked" in found.notes[0]
    assert rows(path, mapping={"N": "size", "D": "1T", "L": "bits"}).x["tokens"].tolist() == [1e12, 1e12]


def test_map_may_use_a_canonical_name_of_another_column(write: Write) -> None:
    found = rows(write("N,_step,loss\n1e7,100,3\n"), mapping={"tokens": "step * 1K"})
    assert found.x["tokens"].tolist() == [1e5]
    scaled = rows(write("N,D,loss\n1e7,100,3\n"), mapping={"loss": "loss * 2"})
    assert scaled.y.tolist() == [6], "the table's own column, not the one being made"


def test_map_joins_text_for_a_run_id(write: Write) -> None:
    path = write("model,schedule_name,N,D,loss\nsmall,cosine,1e7,1e9,3\nsmall,wsd,1e7,1e9,3.1\n")
    assert rows(path, mapping={"run_id": "model+schedule_name"}).group.tolist() == ["small-cosine", "small-wsd"]
    assert rows(path, mapping={"run_id": "model+schedule"}).group.tolist() == ["small-cosine", "small-wsd"]
    with pytest.raises(UsageError, match="did you mean 'model'"):
        rows(path, mapping={"run_id": "modl+schedule_name"})


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch /tmp/x')",
        "open('x')",
        "params.real",
        "(lambda: 1)()",
        "[params]",
        "params if 1 else 2",
        "params > 1",
        "params; tokens",
        "'text'",
        "1j * params",
        "parms * 2",
        "parms",
        "",
        "params *",
        "(" * 500,
        "1" + "+1" * 5000,
        "1" + "0" * 400,
        "\x00",
    ],
)
def test_map_runs_no_code(expression: str, write: Write) -> None:
    with pytest.raises(UsageError, match="--map"):
        rows(write(GOOD), mapping={"params": expression})


def test_map_names_the_nearest_column(write: Write) -> None:
    with pytest.raises(UsageError, match=r"no column 'parms' .*; did you mean 'params'"):
        rows(write(GOOD), mapping={"params": "parms"})
    with pytest.raises(UsageError, match=r"no column 'parms' .*did you mean 'params'"):
        rows(write(GOOD), mapping={"params": "parms * 2"})


def test_map_keeps_account_of_cells_it_cannot_use(write: Write) -> None:
    path = write("N,step,loss\n1e7,1,3\n1e7,many,3\n1e7,,3\n1e7,0,3\n")
    fault = fault_of(path, mapping={"tokens": "1e9 / step"})
    assert (fault.line, fault.column) == (3, "tokens")
    assert "'many'" in str(fault)
    found = rows(path, mapping={"tokens": "1e9 / step"}, drop_bad=True)
    assert dict(found.dropped) == {"tokens impossible": 2, "tokens missing": 1}
    selected = fault_of(path, mapping={"tokens": "1e9 / step"}, where="loss == 3 and N > 1")
    assert selected.line == 3
    later = fault_of(
        write("N,step,loss\n1e7,1,9\n1e7,1,9\n1e7,0,3\n"), mapping={"tokens": "1 / step"}, where="loss < 9"
    )
    assert later.line == 4


def test_params_column_says_which_count(write: Write) -> None:
    path = write("params_nonembed,params_vocab,tokens,loss\n1e7,2e6,1e9,3\n")
    assert "--params-column params_nonembed" in str(fault_of(path))
    found = rows(path, params_column="params_nonembed")
    assert found.inputs["params"]["counts"] == "non-embedding"


# -------------------------------------------------------------------------------------------------------------- where

WHERE = "name,N,D,loss,size,flag,day\n" + "".join(
    f"{name},{n},{d},{loss},{size},{flag},{day}\n"
    for name, n, d, loss, size, flag, day in [
        ("a b", "7B", "1T", "2.0", "70M", "True", "2024-01-02"),
        ("c", "1B", "1T", "2.5", "100M", "False", "2024-03-01"),
        ("d", "1B", "2T", "", "xl", "True", "2025-01-01"),
        ("e", "1e7", "1e9", "nan", "xl", "", "2025-01-01"),
    ]
)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("tokens > 1e9", "abc d"),
        ("D > 1e9", "abc d"),
        ("params >= 1B", "abc d"),
        ("N >= 1B and N < 7B", "cd"),
        ("params > 1B", "a b"),
        ("1B <= N < 7e9", "cd"),
        ("N == 7000000000", "a b"),
        ("6*N*D > 1e22", "a bd"),
        ("N/2 < 1e9 or not (D < 2T)", "cde"),
        ("(N > 1B) | (D == 2T)", "a bd"),
        ("N > 500M & D > 1T", "d"),
        ("~(N > 1B)", "cde"),
        ("name == 'a b'", "a b"),
        ('name != "a b"', "cde"),
        ("'a' in name", "a b"),
        ("'a' not in name", "cde"),
        ("name in ['c', 'd']", "cd"),
        ("name not in ('c', 'd')", "a be"),
        ("size == '70M'", "a b"),
        ("size in ['70M', 'xl']", "a bde"),
        ("N in [1B, 1e7]", "cde"),
        ("flag", "a bd"),
        ("not flag", "ce"),
        ("flag == True and name != 'd'", "a b"),
        ("day >= '2024-03'", "cde"),
        ("loss < 100", "a bc"),
        ("val == val or `loss` < 2.2", None),
        ("name == '7B'", None),
        ("name == 'N > 1 & 2'", None),
        ("-N < -1e7", "a bcd"),
    ],
)
def test_where(where: str, kept: str | None, write: Write) -> None:
    path = write(WHERE)
    if kept is None:
        with pytest.raises(LabError, match=r"leaves no row|no column 'val'"):
            read_table(path, where=where)
        return
    table = read_table(path, where=where)
    assert "".join(table.frame["name"]) == kept.replace("abc d", "a bcd")
    assert len(table.skipped) == 4 - len(table.frame)
    assert all(s.why == "--where" for s in table.skipped)


def test_where_counts_what_it_leaves_out(write: Write) -> None:
    found = rows(write(GOOD), where="params > 1e7")
    assert (found.read, found.used, dict(found.dropped)) == (4, 3, {"--where": 1})
    assert found.skipped[0].line == 2
    assert found.lines.tolist() == [3, 4, 5]
    assert rows(read_table(write(GOOD), where="params > 1e7"), where="loss < 3").dropped == {"--where": 2}


def test_where_sees_a_mapped_column(write: Write) -> None:
    path = write("loss,val,N,D\n9,3,1e7,1e9\n1,4,1e7,1e9\n")
    assert rows(path, mapping={"loss": "val"}, where="loss < 3.5").y.tolist() == [3]
    assert rows(path, mapping={"loss": "val*10"}, where="loss < 35").y.tolist() == [30]
    assert rows(path, mapping={"run_id": "N+D"}, where="run_id == '1e7-1e9' and val > 3").y.tolist() == [1]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("tokns > 1", "did you mean 'tokens'"),
        ("tokens >", "not a condition"),
        ("tokens", "not true or false"),
        ("1 < 2", "names no column"),
        ("tokens = 5", "not a condition"),
        ("__import__('os').getcwd() == 'x'", "text is compared with a column"),
        ("tokens.sum() > 1", "not a condition"),
        ("@tokens > 1", "not a condition"),
        ("tokens is None", "not a condition"),
        ("loss > 'a' + 'b'", "not a condition"),
        ("run_id in []", "not a condition"),
        ("(" * 300, "not a condition"),
        (" and ".join(["loss > 1"] * 3) + " or" * 2, "not a condition"),
        ("-" * 3000 + "loss > 1", "not a condition|too long"),
        ("", "not a condition"),
    ],
)
def test_where_that_says_nothing(where: str, says: str, write: Write) -> None:
    with pytest.raises(UsageError, match=says):
        # An empty condition is no condition for read_table; a space is one that says nothing.
        read_table(write(GOOD), where=where or " ")


def test_where_compares_text_with_numbers_nowhere(write: Write) -> None:
    fault = fault_of(write(GOOD), where="run_id > 5")
    assert (fault.line, fault.column) == (2, "run_id")
    assert "'r1' is not a number" in str(fault)
    assert "leaves no row of 4" in str(fault_of(write(GOOD), where="loss < 0"))


# --------------------------------------------------------------------------------------------------------- bad input

BAD_CELLS = {
    "text": ("1e8,1e10,2.9", "1e8,many,2.9", "tokens", "'many' is not a finite number"),
    "nan": ("1e8,1e10,2.9", "1e8,1e10,nan", "loss", "'nan' is not a finite number"),
    "inf": ("1e8,1e10,2.9", "1e8,1e10,-Infinity", "loss", "'-Infinity' is not a finite number"),
    "too large": ("1e8,1e10,2.9", "1e8,1e999,2.9", "tokens", "'1e999' is not a finite number"),
    "zero tokens": ("1e8,1e10,2.9", "1e8,0,2.9", "tokens", "0 is not above zero"),
    "negative params": ("1e8,1e10,2.9", "-1e8,1e10,2.9", "params", "-1e+08 is not above zero"),
    "zero loss": ("1e8,1e10,2.9", "1e8,1e10,0.0", "loss", "0 is not above zero"),
    "negative loss": ("1e8,1e10,2.9", "1e8,1e10,-2", "loss", "-2 is not above zero"),
}


@pytest.mark.parametrize("case", BAD_CELLS)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "quoted.csv"])
def test_a_bad_cell_is_named(case: str, name: str, write: Write) -> None:
    old, new, column, says = BAD_CELLS[case]
    text = GOOD.replace(old, new)
    line = 4
    if name == "t.tsv":
        text = text.replace(",", "\t")
    elif name == "quoted.csv":
        text = "\n".join('"' + row.replace(",", '","') + '"' for row in text.splitlines())
    elif name == "t.jsonl":
        header, *body = [row.split(",") for row in text.splitlines()]
        text, line = "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in body), 3
    fault = fault_of(write(text, name))
    assert (fault.line, fault.column) == (line, column)
    assert fault.file is not None
    assert fault.file.endswith(name)
    assert says in str(fault)
    found = rows(write(text, name), drop_bad=True)
    assert dict(found.dropped) == {f"{column} impossible": 1}
    assert found.used == 3
    assert found.skipped[0].line == line


def test_json_numbers_that_are_not_finite(write: Write) -> None:
    text = '{"params": 1e7, "tokens": 1e9, "loss": NaN}\n{"params": 1e7, "tokens": 1e10, "loss": Infinity}\n'
    assert "'NaN' is not a finite number (2 such rows)" in str(fault_of(write(text, "t.jsonl")))
    frame = pd.DataFrame({"params": [1e7, 1e7], "tokens": [1e9, 1e9], "loss": [3, math.inf]})
    assert "inf" in str(fault_of(frame))


def test_bad_rows_are_counted_by_reason(write: Write) -> None:
    body = ["1e7,1e9,3", "0,1e9,3", "1e7,x,3", "1e7,1e9,nan", "1e7,,3", "1e7,1e9,", "-1,1e9,3", "1e8,1e9,3"]
    found = rows(write("params,tokens,loss\n" + "\n".join(body)), drop_bad=True)
    assert dict(found.dropped) == {
        "params impossible": 2,
        "tokens impossible": 1,
        "loss impossible": 1,
        "tokens missing": 1,
        "loss missing": 1,
    }
    assert found.read == found.used + sum(found.dropped.values()) == 8
    assert [s.line for s in found.skipped] == [3, 4, 5, 6, 7, 8]


def test_an_empty_cell_is_counted_and_no_fault(write: Write) -> None:
    found = rows(write(GOOD.replace("2.9", "")))
    assert (found.used, dict(found.dropped)) == (3, {"loss missing": 1})
    frame = pd.DataFrame({"params": [1e7, None], "tokens": [1e9, 1e9], "loss": [3, 3.1]})
    assert dict(rows(frame).dropped) == {"params missing": 1}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.csv", b"", "is empty"),
        ("e.csv", b"\n \n\r\n", "is empty"),
        ("e.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("e.jsonl", b"", "is empty"),
        ("h.csv", b"params,tokens,loss\n", "no rows"),
        ("h.csv", b'"params","tokens","loss"\n', "no rows"),
        ("h.csv", b"params,tokens,loss\n,,\n\n", "no rows"),
        ("b.csv", b"\x00\x01\x02PK\x03\x04" * 50, "binary"),
        ("b.csv", b"\x89PNG\r\n\x1a\n\xff\xfe", "neither UTF-8 text nor Parquet"),
        ("l.csv", "params,tokens,loss,où\n".encode("latin-1"), "neither UTF-8"),
        ("u.csv", GOOD.encode("utf-16"), "UTF-16"),
        ("u.csv", GOOD.encode("utf-16-le"), "binary"),
        ("g.csv.gz", gzip.compress(GOOD.encode(), mtime=0)[:-12], "gzip data is damaged or cut short"),
        ("g.csv.gz", gzip.compress(GOOD.encode(), mtime=0)[:8], "gzip data is damaged or cut short"),
        ("g.csv.gz", gzip.compress(GOOD.encode(), mtime=0)[:30] + b"??" * 20, "gzip data is damaged or cut short"),
        ("p.parquet", parquet(FRAME)[:-20], "Parquet file can't be read"),
        ("p.parquet", b"PAR1" + b"\x07" * 100 + b"PAR1", "Parquet file can't be read"),
        ("j.jsonl", b'{"params": 1e7}\n{"params": \n', "not JSON"),
        ("j.jsonl", b"[1, 2]\n", "not a JSON object"),
        ("j.jsonl", b"[" * 100_000, "not JSON"),
        ("j.jsonl", b"{}\n{}\n", "no rows"),
        ("s.csv", b"params;tokens;loss\n1e7;1e9;3,5\n", "semicolons"),
        ("q.csv", b'params,tokens,loss\n1e7,1e9,3\n1e7,"1e9,3\n', "a quote is opened and not closed"),
        ("q.csv", b'params,tokens,loss\n1e7,1e9,"3"5\n', "expected after"),
        ("d.csv", b"params,tokens,loss,loss\r\n1,2,3,4\r\n", "this column twice"),
        ("d.csv", b"params,tokens,loss , loss\n1,2,3,4\n", "this column twice"),
        ("d.csv", b'params,tokens,"loss",loss\n1,2,3,4\n', "this column twice"),
    ],
)
def test_a_bad_file_is_one_line(name: str, content: bytes, says: str, write: Write) -> None:
    fault = fault_of(write(content, name))
    assert says in str(fault)
    assert fault.file is not None
    assert fault.file.endswith(name)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD.replace("r3,1e8,1e10,2.9", "r3,1e8,1e10"), 4, "3 cells where the header has 4"),
        (GOOD.replace("r3,1e8,1e10,2.9", "r3,1e8,1e10,2.9,5"), 4, "5 cells where the header has 4"),
        (GOOD.replace("r1,1e7,1e9,3.5", "r1,1e7,1e9,3.5,"), 2, "5 cells where the header has 4"),
        (GOOD.replace("r3,1e8,1e10,2.9", "r3"), 4, "1 cell where the header has 4"),
        ("\n\n" + GOOD.replace("\n", "\n\n").replace("r3,1e8,1e10,2.9", "r3,1"), 9, "2 cells"),
        (GOOD.replace("r1", '"r\n1"').replace("r3,1e8,1e10,2.9", "r3,1"), 5, "2 cells"),
        (GOOD.replace("r1", '"r\n1"').replace("r3,1e8,1e10,2.9", "r3,1e8,many,2.9"), 5, "'many'"),
        (GOOD.replace("r1,", '"r\n\n1",').replace("r2,", '"r,2",').replace("2.6", "-2.6"), 7, "-2.6"),
        (GOOD.replace("r3,", "r3\tx,").replace("2.6", "0"), 5, "0 is not"),
        (GOOD.replace("\n", "\r\n").replace("2.6", "0"), 5, "0 is not"),
        (GOOD.replace("r2", '"r2').replace("r3", 'r3"').replace("2.9", "0"), 3, "0 is not"),
    ],
)
def test_lines_are_those_of_an_editor(text: str, line: int, says: str, write: Write) -> None:
    fault = fault_of(write(text))
    assert (fault.line, says in str(fault)) == (line, True), str(fault)


def test_a_quoted_cell_may_hold_commas_and_lines(write: Write) -> None:
    found = rows(write('run_id,N,D,loss\n"a, the ""first""\nof two",1e7,1e9,3\nb,1e7,1e9,4\n'))
    assert found.group.tolist() == ['a, the "first"\nof two', "b"]
    assert found.lines.tolist() == [2, 4]


def test_a_missing_file_names_the_nearest(write: Write, tmp_path: Path) -> None:
    write(GOOD, "points.csv")
    fault = fault_of(tmp_path / "point.csv")
    assert "no such file; did you mean 'points.csv'?" in str(fault)
    assert "check the path" in str(fault_of(tmp_path / "nowhere" / "x.csv"))
    assert "is a folder" in str(fault_of(tmp_path))
    assert "can't be read" in str(fault_of("a\x00b.csv"))
    assert "can't be read" in str(fault_of("x" * 5000))
    assert "can't be read" in str(fault_of(tmp_path / "points.csv" / "x.csv"))


def test_a_missing_column_names_the_nearest(write: Write) -> None:
    fault = str(fault_of(write("params,token,loss\n1,2,3\n")))
    assert "no column 'tokens' (training tokens seen D)" in fault
    assert "did you mean 'token'?" in fault
    assert "it has a, b, c" in str(fault_of(write("a,b,c\n1,2,3\n")))


def test_a_repeated_run_with_another_loss_is_refused(write: Write) -> None:
    text = GOOD + "r2,1e8,1e9,3.25\nr3,1e8,1e10,2.9\n"
    fault = fault_of(write(text))
    assert (fault.line, fault.column) == (6, "run_id")
    assert "run_id 'r2' stands at line 3 too, with another loss (3.2 there, 3.25 here)" in str(fault)
    found = rows(write(text), drop_bad=True)
    assert dict(found.dropped) == {"loss differs between rows of one run": 2, "duplicate row": 1}
    assert found.group.tolist() == ["r1", "r3", "r4"]


def test_checkpoints_of_a_run_are_no_repeats(write: Write) -> None:
    found = rows(write("run_id,params,tokens,loss\na,1e7,1e9,3\na,1e7,2e9,2.9\na,1e7,2e9,2.9\n"))
    assert (found.used, dict(found.dropped), found.grouped) == (2, {"duplicate row": 1}, True)


def test_rows_without_a_run_id_are_runs_of_their_own(write: Write) -> None:
    found = rows(write("run_id,params,tokens,loss\n,1e7,1e9,3\n ,1e7,1e9,3.1\na,1e7,1e9,3.2\n"))
    assert len(set(found.group)) == 3
    frame = pd.DataFrame({"run_id": ["a", None, None], "params": 1e7, "tokens": 1e9, "loss": [3, 3.1, 3.2]})
    assert len(set(rows(frame).group)) == 3, "an absent id is not a run called nan"
    assert not rows(frame.drop(columns="run_id")).grouped


def test_many_repeats_are_found_at_once() -> None:
    frame = pd.DataFrame({"run_id": "a", "params": 1e7, "tokens": np.repeat(np.arange(1.0, 20_001), 2), "loss": 3.0})
    assert dict(rows(frame).dropped) == {"duplicate row": 20_000}


# --------------------------------------------------------------------------------------------------- odd frames


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["1e9", "x"], dtype="category"),
        pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"])),
        pd.Series([[1], 2], dtype=object),
        pd.Series([{"a": 1}, 2], dtype=object),
        pd.Series([10**400, 1], dtype=object),
        pd.Series([b"\xff", 2], dtype=object),
        pd.Series([1 + 2j, 3]),
    ],
    ids=["category", "dates", "lists", "dicts", "huge", "bytes", "complex"],
)
def test_cells_of_no_number_are_faults_not_crashes(column: pd.Series) -> None:
    frame = pd.DataFrame({"params": [1e7, 1e8], "tokens": column, "loss": [3, 2.9]})
    assert fault_of(frame).column == "tokens"


def test_columns_of_a_frame_are_text() -> None:
    frame = pd.DataFrame({0: [1e7], 1: [1e9], "loss": [3]})
    assert rows(frame, mapping={"params": "0", "tokens": "1"}).used == 1
    with pytest.raises(BadInput, match="twice"):
        rows(pd.concat([FRAME, FRAME[["loss"]]], axis=1))
    with pytest.raises(BadInput, match="no rows"):
        rows(FRAME[:0])


def test_nullable_and_decimal_columns() -> None:
    frame = pd.DataFrame({"params": pd.array([10**7, None], dtype="Int64"), "tokens": 1e9, "loss": [3, 3]})
    assert dict(rows(frame).dropped) == {"params missing": 1}


def test_a_column_of_empty_cells_costs_no_loop() -> None:
    table = read_table(pd.DataFrame({"loss": np.full(300_000, np.nan), "text": [""] * 300_000}))
    for name in ("loss", "text"):
        values, faults = column_numbers(table, name)
        assert np.isnan(values).all()
        assert not faults


# ------------------------------------------------------------------------------------------------- random bad tables

CELL = st.one_of(
    st.sampled_from(
        ["1e7", "7B", "0", "-1", "nan", "inf", "", " ", "x", '"', '"a,b"', "1e999", "3.1", "'", "=1", "NaN"]
    ),
    st.text(alphabet='19eB.,"\t\n\r;{}\\ é\ufeff\u2028\x1c', max_size=6),
)
NAME = st.one_of(
    st.sampled_from(["params", "tokens", "loss", "N", "D", "val_loss", "run_id", "", '"q"', " loss ", "C"]),
    st.text(max_size=5),
)


@st.composite
def broken_tables(draw: st.DrawFn) -> bytes:
    """The bytes of a table that is nearly right: some cells, names, rows or bytes are not."""
    header = ["run_id", "params", "tokens", "loss"]
    if draw(st.booleans()):
        header = draw(st.lists(NAME, min_size=1, max_size=5))
    good = st.sampled_from(["r1", "1e7", "2e9", "3.5", "7B"])
    lines = [header]
    for _ in range(draw(st.integers(0, 6))):
        row = [draw(good if draw(st.integers(0, 3)) else CELL) for _ in header]
        lines.append(row[: draw(st.integers(0, len(row)))] if draw(st.integers(0, 9)) == 0 else row)
    delimiter = draw(st.sampled_from([",", ",", ",", "\t", ";"]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    content = end.join(delimiter.join(row) for row in lines).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        content = json.dumps(dict(zip(header, lines[-1], strict=False))).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        content = gzip.compress(content, mtime=0)
    cut = draw(st.integers(0, 20))
    return content[: max(0, len(content) - cut)] if draw(st.integers(0, 4)) == 0 else content


WHERES = st.sampled_from([None, None, "loss > 0", "tokens < 1T", "run_id == 'r1'", "N > 1 and D > 1", "x y", "~loss"])
MAPS = st.sampled_from([{}, {}, {"loss": "loss*2"}, {"tokens": "params/0"}, {"run_id": "params+tokens"}, {"N": "é"}])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    broken_tables(),
    st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.csv.gz", "t.parquet"]),
    WHERES,
    MAPS,
    st.booleans(),
)
@example(b'a,"b', "t.csv", None, {}, False)
@example(b"PAR1", "t.parquet", None, {}, False)
def test_any_table_is_rows_or_one_fault(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    name: str,
    where: str | None,
    mapping: dict[str, str],
    drop_bad: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    try:
        found = rows_for(read_table(path, where=where, mapping=mapping), INPUTS, drop_bad=drop_bad)
    except (BadInput, UsageError):
        return
    assert found.read == found.used + sum(found.dropped.values())
    for values in (*found.x.values(), found.y):
        assert np.isfinite(values).all()
        assert (values > 0).all()
    assert len(found.group) == len(found.lines) == found.used


# ------------------------------------------------------------------------------------------------------ public tables


@pytest.mark.data
def test_public_tables_are_read(data_dir: Path) -> None:
    paths = sorted([*data_dir.glob("*/*.csv"), *data_dir.glob("*/*.csv.gz")])
    assert paths
    for path in paths:
        table = read_table(path)
        plain = pd.read_csv(path)
        assert len(table.frame) == len(plain), path
        for column in plain.select_dtypes("number").columns:
            values, faults = column_numbers(table, str(column).strip())
            assert not faults, (path, column)
            np.testing.assert_allclose(values, plain[column].astype(float), rtol=1e-12, err_msg=f"{path} {column}")


@pytest.mark.data
def test_epoch_points(data_dir: Path) -> None:
    found = rows(data_dir / "epoch_chinchilla" / "points.csv", where="excluded_by_epoch == 0")
    assert (found.read, found.used, dict(found.dropped)) == (245, 240, {"--where": 5})


@pytest.mark.parametrize("cell", ["1e200", "1e-200"])
def test_sizes_that_no_measurement_has_are_refused(cell: str) -> None:
    frame = pd.DataFrame({"params": ["1e7", "1e8"], "tokens": ["1e9", cell], "loss": ["3", "2"]})
    with pytest.raises(BadInput, match=r"row 1|line 1") as fault:
        rows_for(read_table(frame), ("params", "tokens"))
    assert "no size that a measurement has" in str(fault.value)


def test_a_condition_may_have_a_part_without_columns() -> None:
    frame = pd.DataFrame({"params": [1e7, 1e8], "tokens": [1e9, 1e9], "loss": [3.0, 2.9]})
    for where in ("1 < 2 and params > 2e7", "0 < 1 < params - 2e7", "params > 2e7 or 2 in [1]", "not (params < 2e7)"):
        assert len(read_table(frame, where=where).frame) == 1, where


def test_dates_truths_and_complex_numbers_are_no_numbers() -> None:
    for odd, shown in (
        (pd.Series(pd.period_range("2024-01", periods=2, freq="M")), "2024-01"),
        (pd.Series([True, False]), "True"),
        (pd.Series([1e9, True], dtype=object), "True"),
        (pd.Series([2e9, 1 + 2j], dtype=object), "(1+2j)"),
    ):
        frame = pd.DataFrame({"params": [1e7, 1e8], "tokens": odd, "loss": [3.0, 2.9]})
        assert f"{shown!r} is not a finite number" in str(fault_of(frame))


def test_half_a_surrogate_pair_is_text_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"params": 1e7, "tokens": 1e9, "loss": 3, "\\ud800": "\\udfff"}\n')
    found = rows(path)
    assert found.used == 1
    assert read_table(path).text("\ud800").tolist() == ["\udfff"]
    frame = pd.DataFrame([[1e7, 1e9, 3.0, 1]], columns=pd.Index(["params", "tokens", "loss", "\ud800"], dtype=object))
    assert rows(frame).used == 1
    named = pd.DataFrame({"params": [1e7, 1e7], "tokens": [1e9, 1e9], "loss": [3.0, 3.0]})
    named["run_id"] = pd.Series(["\ud800", "\ud800"], dtype=object)
    assert dict(rows(named).dropped) == {"duplicate row": 1}
