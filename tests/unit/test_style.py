"""What a reader counts on, held by a test: CONTRIBUTING.md says why for each."""

import re

import pytest
from source_tree import code_only, line_of, read, repository_files, sources

LINES_MAX = 600
TEST_LINES_MAX = 800  # tables of cases are long and still hold one thing
TEXT = (".h", ".cc", ".def", ".py", ".sh", ".cmake", ".md", ".txt", ".json", ".yaml", ".yml", ".service")

# Written in two parts, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
ONE_MACHINE = re.compile(r"/wo" r"rk/|/home/[a-z][\w-]*/|/Us" r"ers/\w|/ro" r"ot/\w")

LAMBDA = re.compile(r"(?<![\w\])])\[(?P<captures>[^\[\]]*)\]\s*(?=[({<])")
COROUTINE_WORD = re.compile(r"\bco_(await|return|yield)\b")
CONDITION = re.compile(r"\b(?:if|while|switch|for)\s*(?:constexpr\s*)?(?=\()")
AWAIT_OPERAND = re.compile(r"[!?]\s*\(?\s*co_await\b|\bco_await\b[^;{}]*\s\?\s")


def text_files():
    return [p for p in repository_files() if p.suffix in TEXT or p.name == "Makefile"]


def find(pattern, files):
    for path in files:
        text = read(path)
        for match in pattern.finditer(text):
            yield f"{path}:{line_of(text, match.start())}: {match.group(0)}"


def closing(code, start):
    """The offset of the bracket that closes the one at `start`, or the end of the text."""
    pairs = {"(": ")", "{": "}", "<": ">"}
    opening, ending, depth = code[start], pairs[code[start]], 0
    for at in range(start, len(code)):
        depth += (code[at] == opening) - (code[at] == ending)
        if depth == 0:
            return at
    return len(code)


def lambdas(code):
    """Yields captures, start and end of body for each lambda expression."""
    for match in LAMBDA.finditer(code):
        at = match.end()
        while at < len(code) and code[at] in "(<":
            at = closing(code, at) + 1
            while at < len(code) and code[at].isspace():
                at += 1
        body = re.compile(r"[^;{}()]*\{").match(code, at)
        if body:
            yield match.group("captures").strip(), body.end() - 1, closing(code, body.end() - 1)


def capturing_coroutines(text):
    """Lines of lambdas that capture and are coroutines: what they captured may die before they end."""
    code = code_only(text)
    found = list(lambdas(code))
    for word in COROUTINE_WORD.finditer(code):
        around = [each for each in found if each[1] < word.start() < each[2]]
        if around and max(around, key=lambda each: each[1])[0]:
            yield line_of(code, word.start())


def awaits_inside(text):
    """Lines where co_await stands in a condition or is an operand of `!` or `?:`."""
    code = code_only(text)
    for match in CONDITION.finditer(code):
        if "co_await" in code[match.end() : closing(code, match.end())]:
            yield line_of(code, match.start())
    for match in AWAIT_OPERAND.finditer(code):
        yield line_of(code, match.start())


def test_nothing_is_left_for_later():
    found = list(find(UNFINISHED, text_files()))
    assert not found, "\n".join(found)


def test_no_path_of_one_machine():
    found = list(find(ONE_MACHINE, text_files()))
    assert not found, "\n".join(found)


def test_files_stay_short_enough_to_read():
    files = [p for p in repository_files() if p.suffix in (".h", ".cc", ".py", ".sh", ".cmake")]
    long = {str(p): read(p).count("\n") for p in files}
    assert not {p: n for p, n in long.items() if n > (TEST_LINES_MAX if "_test." in p else LINES_MAX)}


def test_headers_are_read_once():
    assert not [str(p) for p in sources(".h") if "#pragma once" not in read(p)]


def test_no_coroutine_lambda_captures():
    found = [f"{p}:{n}" for p in sources(".h", ".cc") for n in capturing_coroutines(read(p))]
    assert not found, "\n".join(found)


def test_co_await_stands_alone():
    found = [f"{p}:{n}" for p in sources(".h", ".cc") for n in awaits_inside(read(p))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text,bad",
    [
        ("auto f = [&x]() -> Task<void> { co_await x; };", True),
        ("auto f = [this](int a) -> Task<int> { co_return a; };", True),
        ("spawn([](Stream& s) -> Task<void> { co_await s.close(); }(stream));", False),
        ("Task<void> f() { auto g = [&] { return 1; }; co_await h(g); }", False),
        ("run([&] { go([](int a) -> Task<void> { co_return; }(1)); });", False),
        ("Task<int> f(int a[3]) { co_return a[1]; }", False),
    ],
)
def test_capturing_coroutines_are_seen(text, bad):
    assert bool(list(capturing_coroutines(text))) == bad


@pytest.mark.parametrize(
    "text,bad",
    [
        ("if (!co_await x) return;", True),
        ("while (co_await next()) {}", True),
        ("const int a = co_await b ? 1 : 2;", True),
        ("const auto a = co_await b();\nif (!a) co_return a;", False),
        ("for (;;) { co_await x; }", False),
        ("if (a && b()) co_await c(d);", False),
    ],
)
def test_await_inside_is_seen(text, bad):
    assert bool(list(awaits_inside(text))) == bad
