"""The public files of the paper's 17 further classification tasks (section 3.3), and of TREC's question types.

What differs between tasks is data, not code: one row of `FURTHER` per task, in the order of the paper's table 2. How
they are read stands in further.py. The numbers of rows are the sums of the paper's table of data sets, and
those of the training files where a release has a test set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minibert.data.delimited import Format

UTF8 = ("utf-8",)
LATIN1 = ("utf-8", "latin-1")  # some copies are in circulation as UTF-8, and Latin-1 decodes those too: wrongly
WINDOWS = ("utf-8", "cp1252", "latin-1")  # five bytes are nothing in Windows-1252


@dataclass(frozen=True)
class StandIn:
    """A column that tells the label where a copy of the release lacks the label's own, and what is lost by that."""

    column: str
    classes: dict[str, str | None]
    lost: str


@dataclass(frozen=True)
class PublicTask:
    """How a public release looks.

    file: the name of its file or folder; tests: of that with the test set, under any of these names (): it has none.
    source: where to get it. layout: "table" (delimited), "lines" (LABEL:fine text), "folders" (a file a text).
    text: the columns of the text; several are joined by a space. pair: that of the second text.
    label: the column of the label; `name*` is a column whose name begins so. stand_in: what to read if it is not there.
    rows: how many rows have a label that is not left out (of file, without tests); None where the release grows.
    classes: what the file writes → the class, in the order of the class numbers (None: such rows are left out); or how
    many labels the release has, which then are the class names, sorted; or None, any number.
    rule: from the cell to what is looked up in classes. skip_rest: rows with no or another label are left out, where
    they are an error otherwise. skip_empty: rows without a text are left out, where they are kept otherwise.
    """

    file: str
    source: str
    classes: dict[str, str | None] | int | None
    text: tuple[str, ...] = ("text",)
    label: str = "label"
    stand_in: StandIn | None = None
    rows: int | None = None
    pair: str | None = None
    encoding: tuple[str, ...] = UTF8
    delimiter: str = ","
    columns: str | None = None
    tests: tuple[str, ...] = ()
    rule: Callable[[str], str] = str
    skip_rest: bool = False
    skip_empty: bool = False
    layout: str = "table"

    @property
    def advice(self) -> str:
        """What to do about a damaged file."""
        return f"The file is not as it was released; get it again from {self.source}"

    def how_to_get(self, into: Path) -> str:
        """What to get, from where, and the folder to put it into."""
        return f"Get {' and '.join((self.file, *self.tests[:1]))} from {self.source}. Put it into {into}"

    def form(self) -> Format:
        """The format of a delimited file. Quotes are ordinary characters where tabs separate."""
        quoting = "none" if self.delimiter == "\t" else "csv"
        return Format(self.delimiter, self.encoding, self.columns, quoting, self.advice)

    def class_names(self) -> tuple[str, ...]:
        """The classes that are known before any file is read."""
        names = self.classes.values() if isinstance(self.classes, dict) else ()
        return tuple(dict.fromkeys(name for name in names if name is not None))


def _before_colon(cell: str) -> str:
    """FAVOR: the tweet … -> FAVOR."""
    return cell.partition(":")[0].strip()


def _whole(cell: str) -> str:
    """6.0 -> 6: spreadsheets and data frames write the one for the other."""
    return cell.removesuffix(".0")


def _copies(file: str) -> str:
    return (
        f"CrowdFlower's (later Figure Eight's) library Data for Everyone: copies of {file} are at "
        "https://data.world/crowdflower and https://www.kaggle.com/crowdflower"
    )


def _crowdflower(
    file: str, rows: int, classes: dict[str, str | None] | int, encoding: tuple[str, ...], **rest
) -> PublicTask:
    return PublicTask(file, _copies(file), classes, rows=rows, encoding=encoding, **rest)


def _same(*names: str) -> dict[str, str | None]:
    return {name: name for name in names}


_UCI = "the UCI Machine Learning Repository"
_POLITICAL, _PROGRESSIVE = "political_social_media.csv", "progressive-tweet-sentiment.csv"
_TWEET_ON_TARGET = {"text": ("target",), "pair": "tweet", "rule": _before_colon, "skip_rest": True}
_POSITIVITY = StandIn(
    "positivity",
    {str(positivity): "relevant" for positivity in range(1, 10)} | {"": "not relevant"},
    'a row with a positivity counts as relevant, one without as not relevant, the "not sure" rows of the release among '
    "them",
)

FURTHER = {
    "newsgroups20": PublicTask(
        "20news-bydate-train",
        "http://qwone.com/~jason/20Newsgroups/ (20news-bydate.tar.gz, to be unpacked)",
        20,
        rows=11314,
        encoding=("latin-1",),
        tests=("20news-bydate-test",),
        layout="folders",
    ),
    "cf_airline": _crowdflower("Tweets.csv", 14640, 3, UTF8, label="airline_sentiment"),
    "cf_corporate_messaging": _crowdflower("Corporate-messaging-DFE.csv", 3118, 4, WINDOWS, label="category"),
    "cf_disasters": _crowdflower(
        "socialmedia-disaster-tweets-DFE.csv",
        10860,
        _same("Not Relevant", "Relevant") | {"Can't Decide": None},
        WINDOWS,
        label="choose_one",
    ),
    "cf_economic_news": _crowdflower(
        "Full-Economic-News-DFE-839861.csv",
        7991,
        _same("no", "yes") | {"not sure": None},
        WINDOWS,
        text=("headline", "text"),
        label="relevance",
    ),
    "cf_emotion": _crowdflower("text_emotion.csv", 40000, 13, UTF8, text=("content",), label="sentiment"),
    "cf_global_warming": _crowdflower(
        "1377884570_tweet_global_warming.csv",
        4225,
        {"No": "no", "N": "no", "Yes": "yes", "Y": "yes"},
        WINDOWS,
        text=("tweet",),
        label="existence",
        skip_rest=True,
    ),
    "cf_political_audience": _crowdflower(_POLITICAL, 5000, 2, WINDOWS, label="audience"),
    "cf_political_bias": _crowdflower(_POLITICAL, 5000, 2, WINDOWS, label="bias"),
    "cf_political_message": _crowdflower(_POLITICAL, 5000, 9, WINDOWS, label="message"),
    "cf_primary_emotions": _crowdflower(
        "primary-plutchik-wheel-DFE.csv", 2524, 18, WINDOWS, text=("sentence",), label="emotion"
    ),
    "cf_progressive_opinion": _crowdflower(
        _PROGRESSIVE, 1159, 3, LATIN1, label="q2_which_of_the_options*", **_TWEET_ON_TARGET
    ),
    "cf_progressive_stance": _crowdflower(
        _PROGRESSIVE, 1159, 4, LATIN1, label="q1_from_reading_the_tweet*", **_TWEET_ON_TARGET
    ),
    # Annotators rated how positive an article is where they found it relevant; not every copy keeps both answers.
    "cf_us_economic": _crowdflower(
        "us-economic-newspaper.csv",
        4952,
        {"yes": "relevant", "no": "not relevant", "not sure": None},
        WINDOWS,
        label="relevance",
        stand_in=_POSITIVITY,
        rule=_whole,
    ),
    "customer_complaints": PublicTask(
        "Consumer_Complaints.csv",
        "https://www.consumerfinance.gov/data-research/consumer-complaints/",
        None,
        text=("Consumer complaint narrative",),
        label="Issue",
        skip_empty=True,
    ),
    "news_aggregator": PublicTask(
        "newsCorpora.csv",
        f"{_UCI}: https://archive.ics.uci.edu/dataset/359/news+aggregator",
        {"b": "business", "e": "entertainment", "t": "science and technology", "m": "health"},
        rows=422937,
        delimiter="\t",
        columns="id,text,url,publisher,label,story,host,time",
    ),
    "sms_spam": PublicTask(
        "SMSSpamCollection",
        f"{_UCI}: https://archive.ics.uci.edu/dataset/228/sms+spam+collection",
        _same("ham", "spam"),
        rows=5574,
        delimiter="\t",
        columns="label,text",
    ),
    "trec": PublicTask(
        "train_5500.label",
        "https://cogcomp.seas.upenn.edu/Data/QA/QC/",
        _same("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
        rows=5452,
        encoding=LATIN1,
        tests=("TREC_10.label", "TREC_10.en.label"),
        layout="lines",
    ),
}
