"""A learner's own files: written once and never over others; what status and pytest say of them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from learner import answered

from minibert import lessons
from minibert.errors import InputError
from minibert.lessons import own, own_files, own_import, plain, source
from minibert.lessons.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def states(folder):
    return {standing.name: standing.state for standing in own.standings(own_import.load(folder))}


def test_a_stub_has_signature_and_docstring_and_no_answer(tmp_path):
    own_files.start(tmp_path / "mine")
    functions = own_import.load(tmp_path / "mine")
    assert functions.keys() == lessons.EXERCISES.keys()
    for name, function in functions.items():
        solution = getattr(plain, name)
        assert function.__doc__ == solution.__doc__ and function.__defaults__ == solution.__defaults__, name
        assert not own.is_written(function), name
    assert set(states(tmp_path / "mine").values()) == {own.NOT_WRITTEN}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("linear", ["cache: (x, W)", "return y, cache"]),
        ("linear_backward", ["cache: (x, W)", "return dx, dW, db"]),
        ("softmax", ["cache: p", "return p, cache"]),
        ("gelu_backward", ["cache: x", "return dx"]),
        ("encoder", ["return y, states"]),
    ],
)
def test_a_stub_tells_what_to_return(name, told):
    assert own_files.stub(name).splitlines()[-len(told) - 1 :] == [
        *(f"    # {line}" for line in told),
        f"    {source.BLANK}",
    ]


def test_a_stub_tells_a_long_cache_part_by_part():
    lines = own_files.stub("layer_backward").splitlines()
    begin = lines.index("    # cache, a tuple of")
    assert lines[begin + 1] == "    #     (x, attention/query/W)" and lines[-2] == "    # return dx, gradients"
    assert len(lines) - begin - 3 == len(lessons.EXERCISES["layer"].cache)


def test_the_files_are_called_as_the_notebooks():
    sources = sorted(path.stem for path in Path(__file__).parents[2].glob("notebooks/src/*.py"))
    assert [own_files.module_of(lesson) for lesson in own_files.LESSONS] == [f"lesson_{name}" for name in sources]


def test_the_solutions_are_right(tmp_path):
    assert set(states(answered(tmp_path)).values()) == {own.RIGHT}


def test_start_writes_over_nothing(tmp_path, capsys):
    answered(tmp_path, ["gelu"])
    (tmp_path / "mine.py").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(["start", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "lesson_05_gelu_and_layernorm.py" in error and "nothing was written" in error and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_start_where_nothing_can_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["start", str(tmp_path / "file" / "mine")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_status_is_a_table(tmp_path, capsys):
    answered(tmp_path, ["gelu", "layernorm"], layernorm=("mean(axis=1", "mean(axis=0"))
    assert main(["status", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    row = {line.split()[1]: line for line in table.splitlines() if line[:1].isdigit() and " of " not in line[:6]}
    assert row["gelu"].split() == ["5", "gelu", "right"]
    assert "not yet: " in row["layernorm"] and len(row["layernorm"]) < 140
    assert row["pack"].endswith("not written")
    assert table.endswith(f"1 of {len(lessons.EXERCISES)} right\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def gelu(x:\n", "line 1: SyntaxError"),
        ("import numpy\nnumpy.gelu\n", "line 2: AttributeError"),
        ("raise ValueError('two\\nlines')\n", "line 1: ValueError: two lines"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path, capsys, text, said):
    answered(tmp_path)
    (tmp_path / "lesson_05_gelu_and_layernorm.py").write_text(text)
    assert main(["status", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "lesson_05_gelu_and_layernorm.py, " + said in error and error.count("\n") == 1


def test_a_folder_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys):
    broken, whole = answered(tmp_path / "a"), answered(tmp_path / "b", ["gelu"])
    (broken / "lesson_05_gelu_and_layernorm.py").write_text("def gelu(x:\n")
    assert main(["status", str(broken), str(whole)]) == 2
    out, err = capsys.readouterr()
    assert f"{broken}:\n{whole}:\n" in out and "gelu" in out and "SyntaxError" in err and err.count("\n") == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="has no timer")
@pytest.mark.parametrize("file", ["mine.py", "lesson_05_gelu_and_layernorm.py"])
def test_a_file_that_does_not_end(tmp_path, capsys, monkeypatch, file):
    monkeypatch.setattr(own_import, "SECONDS", 0.5)
    answered(tmp_path, ["gelu"])
    (tmp_path / file).write_text("i = 0\nwhile i < 10:\n    i = i\n")
    assert main(["status", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert file in error and "it did not end within 0.5 s: look at the condition of the loop" in error
    assert error.count("\n") == 1 and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="has no timer")
def test_what_does_not_end_is_waited_for_once(tmp_path, monkeypatch):
    """Those that call it are told to begin there; the others are right as before."""
    monkeypatch.setattr(own, "SECONDS", 1.5)
    monkeypatch.setattr(own, "SOON", 0.05)
    functions = own_import.load(answered(tmp_path, gelu=("y = x *", "while True: pass\n    y = x *")))
    waited = []

    def checked(name, *given, seconds):
        report = lessons.check(name, *given, seconds=seconds)
        waited.extend([] if report.ends else [(name, seconds)])
        return report

    monkeypatch.setattr(own, "check", checked)
    found = {standing.name: standing for standing in own.standings(functions)}
    assert [name for name, seconds in waited if seconds == 1.5] == ["gelu"]
    assert len({name for name, _ in waited}) == len(waited), "once each"
    assert "it did not end within 1.5 s" in found["gelu"].report.diagnosis
    for name in ("adapter", "layer"):
        assert found[name].report.diagnosis == "it calls gelu, which is not right yet: begin there"
    assert found["gelu_backward"].state == found["linear"].state == own.RIGHT


def test_functions_that_call_each_other_are_reported(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def linear(x, W, b):\n    softmax(x)\n\n\ndef softmax(x):\n    linear(x, x, x)\n"
    )
    reports = own.Reports(own_import.load(tmp_path))
    assert "RecursionError" in str(reports.on("linear")) and "begin there" in str(reports.on("softmax"))


def test_no_folder_and_a_function_that_is_taken_out(tmp_path, capsys):
    assert main(["status", str(tmp_path / "none")]) == 2
    assert "start DIR writes one" in capsys.readouterr().err
    answered(tmp_path)
    mine = tmp_path / "mine.py"
    mine.write_text(mine.read_text().replace(" gelu,", ""))
    assert states(tmp_path)["gelu"] == own.NOT_WRITTEN


def test_functions_of_two_folders_are_not_mixed_up(tmp_path):
    right, wrong = answered(tmp_path / "a"), answered(tmp_path / "b", gelu=("y = x *", "y = 2 * x *"))
    assert states(right)["gelu"] == own.RIGHT and states(wrong)["gelu"] == own.NOT_YET
    assert states(right)["gelu"] == own.RIGHT


def test_what_is_called_comes_first(tmp_path):
    functions = own_import.load(answered(tmp_path, ["adapter", "linear", "linear_backward"]))
    assert "it calls gelu, which is not written yet" in own.report_on("adapter", functions).diagnosis
    functions = own_import.load(answered(tmp_path / "b", gelu=("y = x *", "y = 3 * x *")))
    assert "it calls gelu, which is not right yet" in own.report_on("adapter", functions).diagnosis


def test_a_cache_of_ones_own(tmp_path):
    """It is right if forward and backward go together; if they do not, that is said."""
    edits = {"gelu": ("return y, x", "return y, [x]"), "gelu_backward": ("x = cache", "(x,) = cache")}
    assert states(answered(tmp_path / "a", ["gelu", "gelu_backward"], **edits))["gelu_backward"] == own.RIGHT
    del edits["gelu_backward"]
    functions = own_import.load(answered(tmp_path / "b", ["gelu", "gelu_backward"], **edits))
    assert "not with that of your gelu" in own.report_on("gelu_backward", functions).diagnosis


def test_the_way_to_a_hint_is_a_command(tmp_path, capsys):
    reports = own.Reports(own_import.load(answered(tmp_path, ["adapter"])))
    assert str(reports.on("linear")).endswith("  a hint: python -m minibert.lessons hint linear")
    assert "it calls linear, " in str(reports.on("adapter")) and str(reports.on("adapter")).endswith(" hint linear")
    assert main(["hint", "linear_backward"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("linear_backward, hint 1 of 3: ")
    assert first[1:] == ["  the next: python -m minibert.lessons hint linear_backward 2"]
    assert main(["hint", "linear_backward", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def run_pytest(folder, *options):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder.parent)
    return done.returncode, done.stdout + done.stderr


def test_pytest_shows_the_report_and_no_traceback(tmp_path):
    mistake = (
        "    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)",
        "    variance = x.var(1, ddof=1)[:, None]",
    )
    answered(tmp_path / "mine", ["layernorm", "gelu"], layernorm=mistake)
    code, told = run_pytest(tmp_path / "mine", "-m", "layernorm")
    lines = told.splitlines()
    first = next(i for i, line in enumerate(lines) if "FAILURES" in line)
    assert code == 1 and lines[first + 2].startswith("layernorm: not yet. ") and "Traceback" not in told
    assert "reports.on" not in told and "1 failed" in told
    code, told = run_pytest(tmp_path / "mine", "-k", "gelu")
    assert code == 1 and "1 failed, 1 passed" in told and "gelu_backward: not yet. it is not written yet" in told
    (tmp_path / "mine" / "mine.py").write_text("1 / 0")
    code, told = run_pytest(tmp_path / "mine", "-m", "gelu", "--strict-markers")
    assert code == 1 and "line 1: ZeroDivisionError" in told and "Traceback" not in told


def test_an_import_in_a_function_finds_the_learners_files(tmp_path):
    """Called after the files were loaded, it still sees the folder; and an exit is told, not obeyed."""
    (tmp_path / "helpers.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "mine.py").write_text("def gelu(x):\n    from helpers import twice\n\n    return twice(x), x\n")
    assert own_import.load(tmp_path)["gelu"](3) == (6, 3)
    assert "helpers" not in sys.modules
    (tmp_path / "mine.py").write_text("import sys\nsys.exit(4)\n")
    with pytest.raises(InputError, match=r"mine\.py, line 2: SystemExit: 4"):
        own_import.load(tmp_path)
    (tmp_path / "mine.py").write_text("import json\n\njson.loads('{')\n")
    with pytest.raises(InputError, match=r"mine\.py, line 3: JSONDecodeError: "):
        own_import.load(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent")
def test_ctrl_c_while_a_learners_file_runs(tmp_path):
    (tmp_path / "mine.py").write_text("import time\n\nprint('here', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "minibert.lessons", "status", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "interrupted\n") and process.returncode == 130
