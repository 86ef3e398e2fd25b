"""The paper's further tasks and TREC, read from small made-up files in the layout of the public releases."""

import csv
import io
import json
import re

import numpy as np
import pytest
from tiny import write_tiny_backbone

from minibert.cli import main
from minibert.data import load_labelled, load_task
from minibert.data.download import download
from minibert.data.releases import FURTHER
from minibert.data.rows import text_notes
from minibert.errors import InputError

Q1 = "q1_from_reading_the_tweet_which_of_the_options_below_is_most_likely_to_be_true_about_the_stance"
Q2 = "q2_which_of_the_options_below_is_true_about_the_opinion_in_the_tweet"
POLITICAL = ["_golden", "audience", "audience:confidence", "bias", "bias:confidence", "message", "text"]
PROGRESSIVE = [
    Q1,
    f"{Q1}:confidence",
    f"{Q1}_gold",
    Q2,
    f"{Q2}:confidence",
    f"{Q2}_gold",
    f"orig_{Q1}",
    "target",
    "tweet",
]
ARTICLE = ["_unit_id", "positivity", "positivity:confidence", "relevance", "relevance:confidence", "headline", "text"]
STANCES = ("AGAINST: the tweet is", "FAVOR: the tweet", "NEUTRAL: it", "NONE OF THE ABOVE")


def rows(labels, cells, n=40):
    """n rows: cells(i, label) for the labels in turn."""
    return [cells(i, labels[i % len(labels)]) for i in range(n)]


def political(i, label):
    audience, bias, message = label
    return ["False", audience, "1", bias, "0.7", message, f"Vote! {i} “é”"]


def progressive(i, label):
    stance, opinion = label
    return [stance, "0.9", "", opinion, "1", "gold: no", "old: no", "Atheism", f"tweet {i}, é"]


ISSUES = [f"Issue, {i:03}" for i in range(157)]


def complaint(i, label):
    """The first issue is frequent, the others have two to four rows, every third row has no narrative."""
    return ["1/1", "Loan", label if i % 4 else ISSUES[0], f"They {i}\n…" * (i % 3 < 2), "Bank"]


# name: (columns, or None if it has no header; rows; encoding; what it becomes: classes, text and pair of row 0)
FILES = {
    "cf_airline": (
        ["tweet_id", "airline_sentiment", "airline_sentiment:confidence", "text"],
        rows(["neutral", "positive", "negative"], lambda i, c: ["5.7E+17", c, "1", f"@Air said, {i} ✈"]),
        "utf-8",
        (("negative", "neutral", "positive"), "@Air said, 0 ✈", None),
    ),
    "cf_corporate_messaging": (
        ["_unit_id", "category", "category:confidence", "category_gold", "text"],
        rows(["Information", "Action", "Dialogue", "Exclude"], lambda i, c: [str(i), c, "1", "", f"“{i}” for £5"]),
        "cp1252",
        (("Action", "Dialogue", "Exclude", "Information"), "“0” for £5", None),
    ),
    "cf_disasters": (
        ["_unit_id", "choose_one", "choose_one:confidence", "choose_one_gold", "text"],
        rows(["Relevant", "Not Relevant", "Can't Decide"], lambda i, c: [str(i), c, "1", "A\nB", f"fire\n{i} é"]),
        "utf-8",
        (("Not Relevant", "Relevant"), "fire\n0 é", None),
    ),
    "cf_economic_news": (
        ARTICLE,
        rows(["yes", "no", "not sure"], lambda i, c: ["7", "", "", c, "1", f"Stocks – {i}", "They fell.</br>"]),
        "cp1252",
        (("no", "yes"), "Stocks – 0 They fell.</br>", None),
    ),
    "cf_emotion": (
        ["tweet_id", "sentiment", "author", "content"],
        rows([f"mood{i:02}" for i in range(13)], lambda i, c: ["1", c, "me", f'oh "{i}" ♥'], 130),
        "utf-8",
        (tuple(f"mood{i:02}" for i in range(13)), 'oh "0" ♥', None),
    ),
    "cf_global_warming": (
        ["tweet", "existence", "existence.confidence"],
        rows(["Yes", "No", "Y", "N", "N/A", "NA", ""], lambda i, c: [f"ice {i}…", c, "1"], 70),
        "cp1252",
        (("no", "yes"), "ice 0…", None),
    ),
    "cf_political_audience": (
        POLITICAL,
        rows([("national", "partisan", "attack"), ("constituency", "neutral", "media")], political),
        "utf-8-sig",
        (("constituency", "national"), "Vote! 0 “é”", None),
    ),
    "cf_political_bias": (
        POLITICAL,
        rows([("national", "partisan", "attack"), ("constituency", "neutral", "media")], political),
        "cp1252",
        (("neutral", "partisan"), "Vote! 0 “é”", None),
    ),
    "cf_political_message": (
        POLITICAL,
        rows([("national", "neutral", f"kind{i}") for i in range(9)], political, 90),
        "utf-8-sig",
        (tuple(f"kind{i}" for i in range(9)), "Vote! 0 “é”", None),
    ),
    "cf_primary_emotions": (
        ["_unit_id", "emotion", "emotion_confidence", "emotion_gold", "sentence"],
        rows([f"E{i:02}" for i in range(18)], lambda i, c: [str(i), c, "0.2", "Joy\nFear", f"it’s {i}"], 180),
        "cp1252",
        (tuple(f"E{i:02}" for i in range(18)), "it’s 0", None),
    ),
    "cf_progressive_opinion": (
        PROGRESSIVE,
        rows([(STANCES[0], o) for o in ("1. Yes: it is", "2. No: facts", "3. Unclear", "")], progressive),
        "latin-1",
        (("1. Yes", "2. No", "3. Unclear"), "Atheism", "tweet 0, é"),
    ),
    "cf_progressive_stance": (
        PROGRESSIVE,
        rows([(stance, "1. Yes: it is") for stance in (*STANCES, "")], progressive),
        "latin-1",
        (("AGAINST", "FAVOR", "NEUTRAL", "NONE OF THE ABOVE"), "Atheism", "tweet 0, é"),
    ),
    "cf_us_economic": (
        ["_unit_id", "positivity", "positivity:confidence", "text"],
        rows(["6", "", "3.0"], lambda i, c: [str(i), c, "", f"Rates rose – {i}"]),
        "cp1252",
        (("relevant", "not relevant"), "Rates rose – 0", None),
    ),
    "customer_complaints": (
        ["Date received", "Product", "Issue", "Consumer complaint narrative", "Company"],
        rows(ISSUES, complaint, 600),
        "utf-8",
        (tuple(ISSUES), "They 0\n…", None),
    ),
    "news_aggregator": (
        None,
        rows(["b", "t", "e", "m"], lambda i, c: [str(i), f'"Open {i} é', "http://x", "Paper", c, "dQ", "x.com", "139"]),
        "utf-8",
        (("business", "entertainment", "science and technology", "health"), '"Open 0 é', None),
    ),
    "sms_spam": (
        None,
        rows(["ham", "ham", "spam"], lambda i, c: [c, f'"Free {i} £']),
        "utf-8",
        (("ham", "spam"), '"Free 0 £', None),
    ),
}  # fmt: skip


def put(folder, name, lines=None, columns=None, encoding=None):
    """Write the made-up file of a task into a folder; parts of it can be replaced."""
    header, content, usual, _ = FILES[name]
    out = io.StringIO(newline="")
    if header is None:
        out.write("".join("\t".join(line) + "\n" for line in (lines or content)))
    else:
        csv.writer(out).writerows([columns or header, *(lines or content)])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FURTHER[name].file
    path.write_bytes(out.getvalue().encode(encoding or usual))
    return path


def put_trec(folder, train=60, test=6):
    folder.mkdir(parents=True)
    classes = ["NUM:dist", "LOC:city", "HUM:ind", "ENTY:animal", "DESC:def", "ABBR:exp"]
    for file, n in (("train_5500.label", train), ("TREC_10.en.label", test)):
        content = "".join(f"{classes[i % 6]} What : is {i} é ?\n" for i in range(n))
        (folder / file).write_bytes(content.encode("latin-1"))


def put_newsgroups(folder, groups=("alt.atheism", "sci.space", "talk.misc"), train=10, test=3):
    for part, n in (("train", train), ("test", test)):
        for group in groups:
            place = folder / f"20news-bydate-{part}" / group
            place.mkdir(parents=True)
            for i in range(n):
                (place / str(50000 + i)).write_bytes(f"From: é\n\n{group} {part} {i}\0".encode("latin-1"))


def complains(*parts):
    """pytest.raises for an InputError whose message holds all parts, in that order."""
    return pytest.raises(InputError, match="(?s)" + ".*".join(re.escape(part) for part in parts))


def splits(task):
    return [task.train, *task.dev.values(), task.test]


def everything(task):
    """{text, or its pair: class name} over all splits."""
    key = "texts" if task.train.pairs is None else "pairs"
    return {
        text: task.labels[label]
        for part in splits(task)
        for text, label in zip(getattr(part, key), part.labels, strict=True)
    }


# --- what is read ---


def test_every_task_is_here():
    assert set(FILES) | {"trec", "newsgroups20"} == set(FURTHER)


@pytest.mark.parametrize("name", FILES)
def test_a_release_becomes_a_task(tmp_path, name):
    put(tmp_path / name, name)
    labels, text, pair = FILES[name][3]
    task = load_task(name, tmp_path)
    assert (task.name, task.head, task.labels, task.metrics) == (name, "classify", labels, ("accuracy",))
    found = everything(task)
    first = text if pair is None else pair
    assert first in found, list(found)[:3]
    if pair is not None:
        assert set(task.train.texts) == {text}
    for i, part in enumerate(splits(task)):
        share = len(part) / len(found)
        assert abs(share - (0.8, 0.1, 0.1)[i]) < 0.1 or name == "customer_complaints"
        assert set(part.labels.tolist()) == set(range(len(labels))) or name == "customer_complaints"
    assert "split by class with seed 0" in " ".join(task.notes)


@pytest.mark.parametrize("name", ["cf_disasters", "cf_economic_news", "cf_global_warming", "cf_progressive_stance"])
def test_rows_without_a_class_are_left_out_and_counted(tmp_path, name):
    put(tmp_path, name)
    task = load_task(name, tmp_path)
    total = len(FILES[name][1])
    stay = {"cf_disasters": 27, "cf_economic_news": 27, "cf_global_warming": 40, "cf_progressive_stance": 32}[name]
    assert sum(map(len, splits(task))) == stay
    assert f"left out {total - stay} rows" in task.notes[0]


def test_labels_go_with_their_texts(tmp_path):
    put(tmp_path, "cf_global_warming")
    found = everything(load_task("cf_global_warming", tmp_path))
    assert [found[f"ice {i}…"] for i in range(4)] == ["yes", "no", "yes", "no"] and "ice 4…" not in found
    put(tmp_path, "cf_us_economic")
    found = everything(load_task("cf_us_economic", tmp_path))
    assert [found[f"Rates rose – {i}"] for i in range(3)] == ["relevant", "not relevant", "relevant"]
    put(tmp_path, "news_aggregator")
    found = everything(load_task("news_aggregator", tmp_path))
    assert [found[f'"Open {i} é'] for i in (0, 1)] == ["business", "science and technology"]
    put(tmp_path, "cf_progressive_stance")
    found = everything(load_task("cf_progressive_stance", tmp_path))
    assert [found[f"tweet {i}, é"] for i in range(4)] == ["AGAINST", "FAVOR", "NEUTRAL", "NONE OF THE ABOVE"]


def test_texts_on_both_sides_of_a_split_are_counted(tmp_path):
    lines = [["ham", f"text {i}"] for i in range(38)] + [["spam", "WIN a  prize"], ["spam", "win a prize"]]
    put(tmp_path, "sms_spam", lines)
    task = load_task("sms_spam", tmp_path)
    assert text_notes(task) == ["1 of 5 dev texts are also in train, case and spaces aside"]


def test_other_rows_are_read_with_the_classes_of_a_trained_task(tmp_path):
    """Whole, in the order of the file; a label that is no class of the task is no error, and told."""
    put(tmp_path, "sms_spam", [["spam", "win"], ["eggs", "hello"], ["spam", "a prize"]])
    found = load_labelled("sms_spam", tmp_path, ("ham", "spam"))
    whole = found.parts["train"]
    assert (whole.texts, whole.labels.tolist()) == (["win", "hello", "a prize"], [1, -1, 1])
    assert "1 of 3 rows have labels that the task does not know ('eggs'): counted as wrong" in found.notes[0]
    with pytest.raises(InputError, match=r"no row has one of the labels that the task was trained on \('a', 'b'\)"):
        load_labelled("sms_spam", tmp_path, ("a", "b"))
    lines = rows(["Relevant", "Not Relevant", "Perhaps"], lambda i, c: ["0", c, "1", "", f"fire {i}"], 30)
    put(tmp_path, "cf_disasters", lines)
    with pytest.raises(InputError, match="the label is 'Perhaps'"):
        load_task("cf_disasters", tmp_path)
    found = load_labelled("cf_disasters", tmp_path, ("Not Relevant", "Relevant"))
    assert found.parts["train"].labels.tolist() == [1, 0, -1] * 10


def test_relevance_goes_before_positivity(tmp_path):
    lines = rows(["yes", "no", "not sure"], lambda i, c: ["7", "5", "1", c, "1", "head", f"text {i}"])
    put(tmp_path, "cf_us_economic", lines, ARTICLE)
    task = load_task("cf_us_economic", tmp_path)
    found = everything(task)
    assert found["text 0"] == "relevant" and found["text 1"] == "not relevant" and "text 2" not in found
    assert "positivity" not in " ".join(task.notes)
    lines[4][3] = ""  # relevance was not given: no row of the release is so
    put(tmp_path, "cf_us_economic", lines, ARTICLE)
    with complains("us-economic-newspaper.csv, line 6", "the label is ''", "'yes', 'no', 'not sure'"):
        load_task("cf_us_economic", tmp_path)


def test_positivity_in_the_place_of_relevance_is_told(tmp_path):
    put(tmp_path, "cf_us_economic")
    task = load_task("cf_us_economic", tmp_path)
    assert task.labels == ("relevant", "not relevant")
    assert task.notes[0].startswith("us-economic-newspaper.csv has no column 'relevance', so 'positivity' is read")
    assert '"not sure" rows of the release among them' in task.notes[0]
    put(tmp_path, "cf_us_economic", columns=["_unit_id", "tone", "tone:confidence", "text"])
    with complains("there is no column 'relevance'", "'tone'"):
        load_task("cf_us_economic", tmp_path)


@pytest.mark.parametrize(
    ("name", "labels", "note"),
    [
        ("cf_emotion", ["mood01", "mood02", "mood05", "mood06"], "text_emotion.csv: the rows show 4 of the 13 labels"),
        ("cf_airline", ["neutral", "negative"], "Tweets.csv: the rows show 2 of the 3 labels"),
        ("news_aggregator", ["b", "t"], "2 of the 4 labels of the release; missing: entertainment, health"),
    ],
)  # fmt: skip
def test_classes_that_the_rows_do_not_show_are_told(tmp_path, name, labels, note):
    lines = [line for line in FILES[name][1] if set(line) & set(labels)]
    put(tmp_path, name, lines)
    notes = " | ".join(load_task(name, tmp_path).notes)
    assert note in notes and "labelled rows; the release has" in notes
    put(tmp_path, name)
    assert "the rows show" not in " | ".join(load_task(name, tmp_path).notes)


def test_a_class_of_newsgroups_or_trec_that_is_missing_is_told(tmp_path):
    put_newsgroups(tmp_path / "newsgroups20")
    (tmp_path / "newsgroups20" / "20news-bydate-train" / "README").write_text("x")
    assert load_task("newsgroups20", tmp_path).notes[:3] == (
        "20news-bydate-train: left out 1 file in no folder of a class",
        "20news-bydate-train: the rows show 3 of the 20 labels of the release",
        "20news-bydate-train: 30 labelled rows; the release has 11,314",
    )
    put_trec(tmp_path / "trec", train=5)
    for i in range(5):
        with (tmp_path / "trec" / "train_5500.label").open("a") as file:
            file.write(f"NUM:dist more {i} ?\n")
    assert "5 of the 6 labels of the release; missing: ABBR" in " ".join(load_task("trec", tmp_path).notes)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("", "TREC_10.label has no rows: it is not scored"),
        ("\n \n", "TREC_10.label has no rows: it is not scored"),
        ("How far is it ?\nWho was she ?\n", "TREC_10.label has no labels: it is not scored"),
    ],
)
def test_a_test_file_without_labels_or_rows_stops_nothing(tmp_path, content, note):
    put_trec(tmp_path / "trec")
    (tmp_path / "trec" / "TREC_10.label").write_text(content)
    task = load_task("trec", tmp_path)
    assert task.test is None and note in task.notes and [len(task.train), len(task.dev["dev"])] == [54, 6]


@pytest.mark.parametrize(("files", "what"), [(0, "rows"), (3, "labels")])
def test_a_test_folder_without_classes_or_files_stops_nothing(tmp_path, files, what):
    put_newsgroups(tmp_path / "newsgroups20", test=0)
    folder = tmp_path / "newsgroups20" / "20news-bydate-test"
    for group in folder.iterdir():
        group.rmdir()
    for i in range(files):
        (folder / str(i)).write_text("From: me")
    task = load_task("newsgroups20", tmp_path)
    assert task.test is None and f"20news-bydate-test has no {what}: it is not scored" in task.notes


def test_complaints_without_a_narrative_are_left_out_and_rare_issues_are_trained_on(tmp_path):
    put(tmp_path, "customer_complaints")
    task = load_task("customer_complaints", tmp_path)
    assert sum(map(len, splits(task))) == 400 and "left out 200 rows (200 with no text)" in task.notes[0]
    assert set(task.train.labels.tolist()) == set(range(157))  # at least one row of each
    assert "too few rows to be in every split: 'Issue, 001', " in task.notes[-1] and " more" in task.notes[-1]
    assert len(task.notes[-1]) < 200


def test_classes_of_two_rows_each_are_split_at_random(tmp_path):
    put(tmp_path, "customer_complaints", rows(ISSUES, lambda i, c: ["1/1", "Loan", c, f"They {i}", "Bank"], 314))
    task = load_task("customer_complaints", tmp_path)
    assert [len(part) for part in splits(task)] == [252, 31, 31] and len(everything(task)) == 314
    assert "split at random (all classes have too few rows)" in task.notes[0]


def test_a_file_of_mixed_origin_reads_right(tmp_path):
    path = put(tmp_path, "cf_disasters")
    added = '1,Relevant,1,,"‘windows’ é"\r\n'.encode("cp1252") + b"2,Relevant,1,,\x81 \xe9\r\n"
    path.write_bytes(path.read_bytes() + added)
    task = load_task("cf_disasters", tmp_path)
    assert {"‘windows’ é", "\x81 é", "fire\n0 é"} <= set(everything(task))
    assert "5 bytes are not utf-8, the first on line 122, and read as cp1252" in task.notes[1]


def test_one_odd_byte_changes_nothing_but_itself(tmp_path):
    path = put(tmp_path, "cf_disasters")
    path.write_bytes(path.read_bytes() + b"1,Relevant,1,,It\x92s a caf\xc3\xa9\r\n")
    task = load_task("cf_disasters", tmp_path)
    assert {"It’s a café", "fire\n0 é"} <= set(everything(task))
    assert "1 byte is not utf-8, the first on line 122, and read as cp1252" in task.notes[1]


def test_trec_has_its_test_set_and_dev_is_cut_from_train(tmp_path):
    put_trec(tmp_path / "trec")
    for data in (tmp_path, tmp_path / "trec", tmp_path / "trec" / "train_5500.label"):
        task = load_task("trec", data)
        assert task.labels == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
        assert [len(part) for part in splits(task)] == [54, 6, 6]
        assert task.test.texts[1] == "What : is 1 é ?" and task.labels[task.test.labels[1]] == "LOC"
        assert task.notes == (
            "train_5500.label: it is not utf-8; all of it is read as latin-1",
            "train_5500.label: 60 labelled rows; the release has 5,452",
            "TREC_10.en.label: it is not utf-8; all of it is read as latin-1",
            "train_5500.label has no dev set of its own; split by class with seed 0: train 54, dev 6",
        )
    with complains("trec has a test set of its own", "--test-share"):
        load_task("trec", tmp_path, test_share=0.1)


def test_newsgroups_are_read_from_their_folders(tmp_path):
    put_newsgroups(tmp_path / "newsgroups20")
    for data in (tmp_path, tmp_path / "newsgroups20", tmp_path / "newsgroups20" / "20news-bydate-train"):
        task = load_task("newsgroups20", data)
        assert task.labels == ("alt.atheism", "sci.space", "talk.misc")
        assert [len(part) for part in splits(task)] == [27, 3, 9]
    assert task.test.texts[3] == "From: é\n\nsci.space test 0\0" and task.test.labels[3] == 1


# --- where it is found, and how it is split ---


def test_the_folder_its_parent_and_the_file_itself_are_the_same(tmp_path):
    path = put(tmp_path / "cf_political_bias", "cf_political_bias")
    tasks = [load_task("cf_political_bias", data) for data in (tmp_path, tmp_path / "cf_political_bias", path)]
    renamed = path.rename(tmp_path / "mine.txt")
    tasks.append(load_task("cf_political_bias", renamed))
    assert len({tuple(task.train.texts) for task in tasks}) == 1


def test_tasks_of_one_file_find_it_in_each_others_folder(tmp_path):
    put(tmp_path / "cf_political_bias", "cf_political_bias")
    assert load_task("cf_political_audience", tmp_path).labels == ("constituency", "national")


def test_the_split_can_be_chosen(tmp_path):
    put(tmp_path, "sms_spam")
    one, other = (load_task("sms_spam", tmp_path, split_seed=seed) for seed in (0, 1))
    assert one.test.texts != other.test.texts and one.labels == other.labels
    assert len(load_task("sms_spam", tmp_path, dev_share=0.5).dev["dev"]) == 21
    assert load_task("sms_spam", tmp_path, test_share=0.0).test is None
    with complains("seed of the split", "-1"):
        load_task("sms_spam", tmp_path, split_seed=-1)
    with complains("--text-column cannot be used with task sms_spam"):
        load_task("sms_spam", tmp_path, text_column="text")


def test_a_run_is_scored_on_the_split_it_was_trained_with(tmp_path, capsys):
    write_tiny_backbone(tmp_path / "tiny.h5")
    put(tmp_path, "sms_spam", rows(["ham", "spam"], message, 200))
    task = ["--task", "sms_spam", "--data", str(tmp_path), "--backbone", str(tmp_path / "tiny.h5")]
    run = str(tmp_path / "run")
    settings = ["--epochs", "1", "--max-length", "24", "--split-seed", "3", "--dev-share", "0.3", "--quiet"]
    assert main(["train", *task, "--out", run, *settings]) == 0
    trained = json.loads((tmp_path / "run" / "result.json").read_text())
    for split in ("dev", "test"):
        capsys.readouterr()
        assert main(["eval", *task, "--bank", run, "--split", split, "--json"]) == 0
        scored = json.loads(capsys.readouterr().out)
        assert scored["accuracy"] == trained[split]["accuracy"] and scored["examples"] == {"dev": 60, "test": 20}[split]
    assert trained["settings"]["task_options"] == {"dev_share": 0.3, "split_seed": 3}
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in FURTHER)


# --- what bad input gets ---


@pytest.mark.parametrize("name", FURTHER)
def test_a_missing_file_says_what_from_where_and_where_to(tmp_path, name):
    file, source, there = FURTHER[name].file, FURTHER[name].source, str(tmp_path / name)
    with complains(f"task {name}", file, "Get", source, "Put it into", there):
        load_task(name, tmp_path)
    with complains(f"task {name}", "nowhere does not exist", "Get", source):
        load_task(name, tmp_path / "nowhere")
    with complains(f"cannot download {name}", "Get", source, "Put it into", there):
        download(name, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_missing_test_set_is_told(tmp_path):
    put_trec(tmp_path / "trec")
    (tmp_path / "trec" / "TREC_10.en.label").unlink()
    with complains("task trec", "there is no TREC_10.label", "Get train_5500.label and TREC_10.label from"):
        load_task("trec", tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "parts"),
    [
        ("cf_airline", lambda lines: lines[4].append("more"), ["Tweets.csv, line 6", "found 5 fields, expected 4"]),
        ("cf_airline", lambda lines: lines[4].__setitem__(1, ""), ["Tweets.csv, line 6", "label is ''"]),
        ("cf_airline", lambda lines: lines[4].__setitem__(1, "so-so"), ["line 6", "'so-so'", "the 3 labels"]),
        ("cf_disasters", lambda lines: lines[2].__setitem__(1, "Maybe"), ["line 8", "'Maybe'", "'Not Relevant'"]),
        ("cf_us_economic", lambda lines: lines[2].__setitem__(1, "good"), ["line 4", "'good'", "'9', ''"]),
        ("sms_spam", lambda lines: lines[4].pop(), ["SMSSpamCollection, line 5", "found 1 field, expected 2"]),
        ("sms_spam", lambda lines: lines[4].__setitem__(0, "eggs"), ["line 5", "'eggs'", "'ham', 'spam'"]),
        ("news_aggregator", lambda lines: lines[4].__setitem__(4, "x"), ["line 5", "'x'", "'b', 'e', 't', 'm'"]),
        ("customer_complaints", lambda lines: lines[0].__setitem__(2, ""), ["Consumer_Complaints.csv, line 2", "''"]),
    ],
)  # fmt: skip
def test_a_row_that_is_not_as_released(tmp_path, name, change, parts):
    lines = [list(line) for line in FILES[name][1]]
    change(lines)
    put(tmp_path, name, lines)
    with complains(*parts):
        load_task(name, tmp_path)


def test_damaged_trec_and_newsgroups_files(tmp_path):
    put_trec(tmp_path / "trec")
    for line, parts in [
        ("What is this ?", ["LABEL:fine"]),
        ("ODD:x What ?", ["'ODD'", "'ABBR'"]),
        ("NUM:date", ["LABEL"]),
    ]:
        (tmp_path / "trec" / "train_5500.label").write_text(f"NUM:date When ?\n\n{line}\n")
        with complains("train_5500.label, line 3", *parts):
            load_task("trec", tmp_path)
    put_newsgroups(tmp_path / "newsgroups20")
    (tmp_path / "newsgroups20" / "20news-bydate-test" / "sci.space").rename(
        tmp_path / "newsgroups20" / "20news-bydate-test" / "sci.med"
    )
    with complains("20news-bydate-test/sci.med/50000", "'sci.med'", "'alt.atheism', 'sci.space'"):
        load_task("newsgroups20", tmp_path)


def test_advice_for_a_known_release_is_to_get_it_again_and_no_option_of_task_csv(tmp_path):
    path = put(tmp_path, "cf_airline", columns=["tweet_id", "feeling", "x", "text"])
    with complains("no column 'airline_sentiment'", "'feeling'", "get it again from", "kaggle") as told:
        load_task("cf_airline", tmp_path)
    assert "--" not in str(told.value)
    path.write_bytes(b"text,airline_sentiment\n\xff\xff,neutral\n")
    with complains("Tweets.csv, line 2", "0xff is not utf-8", "get it again from") as told:
        load_task("cf_airline", tmp_path)
    assert "--" not in str(told.value)
    path.write_text('text,airline_sentiment\n"never closed,neutral\n')
    with complains("row that begins on line 2", "get it again from") as told:
        load_task("cf_airline", tmp_path)
    assert "--" not in str(told.value)


def test_two_columns_that_could_be_the_label_are_told(tmp_path):
    columns = [Q1 if name == f"orig_{Q1}" else name for name in PROGRESSIVE]
    put(tmp_path, "cf_progressive_stance", columns=columns)
    with complains("which is the label"):
        load_task("cf_progressive_stance", tmp_path)


def test_the_split_is_by_class(tmp_path):
    put(tmp_path, "sms_spam", rows(["ham"] * 9 + ["spam"], message, 200))
    task = load_task("sms_spam", tmp_path)
    assert [np.bincount(part.labels).tolist() for part in splits(task)] == [[144, 16], [18, 2], [18, 2]]


def message(i, label):
    return [label, f"text {i}"]


# --- what lies beside, and what seems to be written otherwise ---


def test_a_second_test_set_is_named(tmp_path):
    put_trec(tmp_path / "trec")
    assert not any("also holds" in note for note in load_task("trec", tmp_path).notes)
    for name in ("TREC_10.label", "train_1000.label", "readme.txt", "words.txt"):
        (tmp_path / "trec" / name).write_bytes((tmp_path / "trec" / "TREC_10.en.label").read_bytes())
    told = [note for note in load_task("trec", tmp_path).notes if "also holds" in note]
    assert told == [
        f"{tmp_path / 'trec'} also holds TREC_10.en.label, train_1000.label: not read (train_5500.label, "
        "TREC_10.label are)"
    ]


def test_quoted_messages_are_told(tmp_path):
    lines = [[["ham", "spam"][i % 2], f"message {i}"] for i in range(40)]
    put(tmp_path, "sms_spam", lines)
    assert not any("quote" in note for note in load_task("sms_spam", tmp_path).notes)
    lines[3][1] = '"she said ""hi"""'
    put(tmp_path, "sms_spam", lines)
    note = next(note for note in load_task("sms_spam", tmp_path).notes if "quote" in note)
    assert note.startswith("SMSSpamCollection: 1 of 40 texts look quoted; the quotes are read as a part of them")
