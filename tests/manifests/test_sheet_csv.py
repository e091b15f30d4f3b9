"""CSV sheets as spreadsheets write them."""

from __future__ import annotations

import pytest

from manifests.sheet import MAX_ROWS


@pytest.mark.parametrize(
    "data",
    [
        b"shot,source,prompt\n001,a.png,pan\n",
        b"\xef\xbb\xbfshot,source,prompt\r\n001,a.png,pan\r\n",
        b"shot;source;prompt\n001;a.png;pan\n",
        b"shot\tsource\tprompt\n001\ta.png\tpan\n",
        b"sep=;\nshot;source;prompt\n001;a.png;pan\n",
        b" Shot , SOURCE ,Prompt,,,\n001,a.png,pan,,,\n,,,,,\n",
        b"\n\nshot,source,prompt\n\n001,a.png,pan",
        b'"shot","source","prompt"\n"001","a.png","pan"\n',
    ],
)
def test_dialects_of_spreadsheets_mean_the_same(sheet, data):
    """BOM, CRLF, semicolons, tabs, sep=, blank rows and empty columns change nothing; 001 stays."""
    manifest = sheet(data)
    assert manifest.faults == ()
    assert [(shot.id, shot.title) for shot in manifest.shots] == [("001", "pan")]


def test_text_may_hold_newlines_delimiters_and_quotes(sheet):
    """A quoted cell keeps its newline, comma and quotes, and rows count as a spreadsheet's do."""
    manifest = sheet('shot,source,prompt\r\na,a.png,"one,\r\n""two"""\r\nb,a.png,x\r\n')
    assert [(shot.row, shot.title) for shot in manifest.shots] == [(2, 'one,\n"two"'), (3, "x")]


def test_an_apostrophe_that_guards_no_formula_is_text(sheet):
    """Only one before what a spreadsheet would calculate is taken off."""
    data = "shot,source,prompt\na,a.png,'tis a slow pan\nb,a.png,'=sum\n"
    assert [shot.title for shot in sheet(data).shots] == ["'tis a slow pan", "=sum"]


def test_prompts_in_any_language_are_kept(sheet):
    """Chinese text passes."""
    assert sheet("shot,source,prompt\na,a.png,镜头向左\n").shots[0].recipe.prompt == "镜头向左"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("shot,prompt\na,café\n".encode("cp1252"), "is not UTF-8 (byte 0xE9 on line 2)"),
        ("shot,prompt\na,x\n".encode("utf-16"), "is UTF-16"),
        (b"PK\x03\x04rest", "is a spreadsheet's own file"),
        (b"shot,prompt\na,\0\n", "holds zero bytes"),
        (b"", "has no header (it is empty)"),
        (b"\n,,\n", "has no header (it is empty)"),
        (b"001,a.png,pan\n", "has no header (it starts with"),
        (b"shot,prompt\n", "holds no shots"),
        (b"source,prompt\na.png,x\n", "there is no column 'shot'"),
        (b"shot,prompt,prompt\na,x,y\n", "the column 'prompt' stands twice"),
        (b'shot,prompt\na,"x\nb,y\n', "is not valid CSV"),
        (b"shot,prompt\n" + b"a,x\n" * (MAX_ROWS + 1), "holds more than 20000 rows"),
    ],
)
@pytest.mark.timeout(60)
def test_a_file_that_cannot_be_trusted_gives_no_shots(sheet, data, problem):
    """A fault of the file or its header is told in words, with a remedy, and no row is used."""
    manifest = sheet(data)
    assert manifest.shots == ()
    assert manifest.faults[0].problem.startswith(problem)
    assert manifest.faults[0].remedy
    assert manifest.faults[0].file.name == "night.csv"


def test_a_mistyped_column_is_named_once_and_its_cells_are_still_read(sheet, told):
    """`promt` is a fault of the header; its cells count, so rows have no fault of their own."""
    manifest = sheet("shot,promt,foo\na,x,\nb,y,\n")
    assert told(manifest)[:2] == [
        (1, "promt", "there is no column 'promt'"),
        (1, "foo", "there is no column 'foo'"),
    ]
    assert manifest.faults[0].remedy == "did you mean 'prompt'?"
    assert not any(f.problem == "has neither prompt nor source" for f in manifest.faults)
    assert manifest.shots == ()


def test_a_column_that_is_not_there_is_told_once_for_all_rows(sheet, told):
    """Two hundred rows under a header that lacks what each of them needs make one fault of each."""
    rows = "17,two-stage\n" * 200
    assert told(sheet(f"frames,preset\n{rows}")) == [
        (1, None, "there is no column 'shot'"),
        (1, None, "there is no column 'prompt'"),
    ]


@pytest.mark.parametrize(("typed", "meant"), [("image", "source"), ("lut", "grade")])
def test_common_words_for_columns_are_recognised(sheet, typed, meant):
    """Words that other tools use are answered with ours."""
    manifest = sheet(f"shot,prompt,{typed}\na,x,\n")
    assert manifest.faults[0].remedy == f"did you mean {meant!r}?"


def test_a_cell_beyond_the_header_is_a_fault_of_its_row(sheet):
    """An unquoted comma in a prompt shifts cells: the row says so, the others are good."""
    manifest = sheet("shot,source,prompt\na,a.png,one, two\nb,a.png,x\n")
    assert [(f.row, f.shot, f.value) for f in manifest.faults] == [(2, "a", "two")]
    assert [shot.id for shot in manifest.shots] == ["b"]


def test_a_missing_file_suggests_its_neighbour(sheet, studio, tmp_path):
    """A mistyped file name is a fault, not an exception."""
    from manifests.load import load_manifest

    sheet("shot,prompt\na,x\n")
    manifest = load_manifest(tmp_path / "sheets" / "nigth.csv", studio=studio)
    assert (manifest.shots, manifest.sha256 != "") == ((), True)
    assert manifest.faults[0].remedy == "did you mean 'night.csv'?"
    folder = load_manifest(tmp_path, studio=studio)
    assert folder.faults[0].problem == "is not a file"


def test_other_suffixes_are_refused_with_a_way_out(sheet):
    """An .xlsx name is told to be saved as CSV UTF-8."""
    manifest = sheet("shot,prompt\na,x\n", "night.xlsx")
    assert manifest.faults[0].remedy.startswith("save it as 'CSV UTF-8")


@pytest.mark.parametrize(
    ("title", "header"),
    [("My show EP01,,\n,,\n", "shot,source,prompt"), ("Table 1\n", "shot;source;prompt")],
)
def test_without_a_header_nothing_is_said_of_rows(sheet, title, header):
    """A title above the header is one fault that says where the header stands, whatever follows."""
    manifest = sheet(f"{title}{header}\n" + header.replace("shot", "a") + "\nb,,,,\n")
    row = title.count("\n") + 1
    assert [fault.remedy for fault in manifest.faults] == [
        f"remove the rows above row {row}, where the columns' names stand"
    ]
    assert [f.remedy for f in sheet("Aufnahme;Quelle\na;a.png\nb;a.png\n").faults] == [
        "make the first row: shot, source, prompt, ..."
    ]


def test_a_quote_that_stays_open_below_a_missing_header_is_told_with_it(sheet):
    """What cannot be read is a fault beside the missing header."""
    problems = [fault.problem for fault in sheet('x,y\na,b\nc,"d\n').faults]
    assert [problem.split(" (")[0] for problem in problems] == ["has no header", "is not valid CSV"]


def test_cells_of_a_column_that_stands_twice_are_no_faults_of_their_rows(sheet, told):
    """The header is at fault once, however many rows fill both columns."""
    manifest = sheet("shot,source,prompt,Prompt\na,a.png,x,y\nb,a.png,x,y\n")
    assert told(manifest) == [(1, "prompt", "the column 'prompt' stands twice")]


def test_a_sheet_has_one_name_whichever_system_wrote_its_accents(sheet):
    """macOS writes é as e and an accent, which is no letter: the sheet is still `été`."""
    manifest = sheet("shot,source\na,a.png\n", "e\u0301te\u0301.csv")
    assert (manifest.name, manifest.faults) == ("\u00e9t\u00e9", ())
