"""What responses must not tell of the software behind the gateway."""

from wire import reply, request


def test_what_tells_of_the_inside_is_removed(proxied, upstream):
    leaks = [
        ("Server", "Apache/2.4.1"),
        ("X-Powered-By", "PHP/5.3"),
        ("X-AspNet-Version", "4.0"),
        ("X-AspNetMvc-Version", "5"),
        ("X-Powered-CMS", "PHP of some kind"),
        ("x-served-by", "cache-7"),
        ("X-Backend-Server", "db-1"),
        ("X-Varnish", "32770"),
        ("X-Drupal-Dynamic-Cache", "MISS"),
        ("X-Cache", "HIT from inner"),
        ("X-Amz-Cf-Pop", "FRA50"),
        ("Liferay-Portal", "7.4"),
        ("MicrosoftSharePointTeamServices", "16.0"),
        ("X-Debug-Token-Link", "/_profiler/1"),
        ("SourceMap", "app.js.map"),
    ]
    kept = [("X-Cachet", "a"), ("X-Serve", "b"), ("Server-Timing", "app;dur=3")]
    upstream.answer = lambda *_: reply(200, b"x", leaks + kept)
    got = proxied.ask(request())
    head = got.raw_head.decode()
    for name, _ in leaks:
        assert not got.has(name), name
    for name, value in kept:
        assert got.get(name) == value
    assert "Apache" not in head
    assert "PHP" not in head
