"""Files and sockets are opened through the broker alone (src/io/broker.h), so that a privileged
process can stand behind it. What opens something itself is named here, with the reason.
"""

import re

import pytest
from source_tree import code_only, line_of, product_sources, read

BROKER = "src/io/broker.cc"

# `::open(` but not `Loop::open(`: the calls of the operating system are written with a leading ::.
OPENING = re.compile(
    r"(?<![\w>])::(?P<system>open|openat|openat2|creat|socket|socketpair|connect|bind|listen|accept|accept4"
    r"|memfd_create|mkstemp|mkostemp|opendir|fopen|shm_open)\s*\("
    r"|\b(?P<plain>fopen|fdopen|freopen|tmpfile|popen|openat2|accept4|dlopen|SYS_open\w*)\b"
    r"|\b(?P<stream>[io]?fstream|(?:basic_)?filebuf)\b"
    r"|\b(?P<folder>(?:recursive_)?directory_iterator|create_director\w+|remove_all|copy_file)\b"
    r"|\b(?P<openssl>BIO_new_file|SSL_CTX_use_\w+_file|SSL_CTX_load_verify_\w+|X509_load_\w*file)\b"
)

ALLOWED = {
    "src/io/socket.cc": (
        {"accept4"},
        "takes connections from a listener that the broker made",
    ),
    "src/config/read_file.cc": (
        {"open", "openat2", "SYS_openat2"},
        "reads the configuration, before there is a broker to ask; includes stay inside its folder",
    ),
    "src/gateway/server.cc": (
        {"accept4"},
        "takes connections from the admin socket that the broker made",
    ),
    "src/cli/main.cc": (
        {"open"},
        "holds the standard streams that whoever started it has closed, with /dev/null",
    ),
    "src/cli/demo.cc": (
        {"BIO_new_file", "remove_all"},
        "`merlon demo` writes its made-up certificate to a folder of its own, before there is a gateway, "
        "and removes it",
    ),
    "src/audit/audit.cc": (
        {"directory_iterator"},
        "`merlon audit` lists other programs' configuration as whoever started it",
    ),
    "src/audit/nginx/files.cc": (
        {"open"},
        "`merlon audit` reads other programs' configuration as whoever started it",
    ),
}


def openings(text):
    """Yields the name and the line of each call in `text` that opens something."""
    code = code_only(text)
    for match in OPENING.finditer(code):
        yield next(name for name in match.groups() if name), line_of(code, match.start())


def test_only_the_broker_opens():
    found = []
    for path in product_sources():
        if str(path) == BROKER:
            continue
        allowed, _ = ALLOWED.get(str(path), (set(), ""))
        found += [
            f"{path}:{line}: {name}: go through io::Broker"
            for name, line in openings(read(path))
            if name not in allowed
        ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", sorted(ALLOWED))
def test_what_is_allowed_is_used(path):
    used = {name for name, _ in openings(read(path))}
    assert ALLOWED[path][0] <= used, f"no longer opened there: {ALLOWED[path][0] - used}"


@pytest.mark.parametrize(
    "text,found",
    [
        ("const int fd = ::open(path, 0);", {"open"}),
        ("return ::socket(AF_INET, SOCK_STREAM, 0);", {"socket"}),
        ("std::ifstream in(path);", {"ifstream"}),
        ('FILE* f = std::fopen("x", "r");', {"fopen"}),
        ("SSL_CTX_use_PrivateKey_file(context, path, 1);", {"SSL_CTX_use_PrivateKey_file"}),
        ("bool TreeBuilder::open(const Event& event) {", set()),
        ("// ::open( is spoken of here\n", set()),
        ('const char* text = "::connect(";', set()),
    ],
)
def test_openings_are_seen(text, found):
    assert {name for name, _ in openings(text)} == found
