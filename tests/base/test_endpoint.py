"""Base URLs as the vendors' SDKs take them, taken apart once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.endpoint import Endpoint, parse_base_url, parse_proxy


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "base_path", "authority"),
    [
        ("https://api.openai.com/v1", "https", "api.openai.com", 443, b"/v1", b"api.openai.com"),
        ("https://api.openai.com/v1/", "https", "api.openai.com", 443, b"/v1", b"api.openai.com"),
        ("HTTPS://API.OpenAI.com", "https", "api.openai.com", 443, b"", b"api.openai.com"),
        ("http://localhost:8000/", "http", "localhost", 8000, b"", b"localhost:8000"),
        ("http://10.0.0.1:80/v1", "http", "10.0.0.1", 80, b"/v1", b"10.0.0.1"),
        ("https://h:8443/a/b", "https", "h", 8443, b"/a/b", b"h:8443"),
        ("http://[::1]:9/v1", "http", "::1", 9, b"/v1", b"[::1]:9"),
        ("https://[2001:DB8::1]/v1", "https", "2001:db8::1", 443, b"/v1", b"[2001:db8::1]"),
        (
            "https://bücher.example/v1",
            "https",
            "xn--bcher-kva.example",
            443,
            b"/v1",
            b"xn--bcher-kva.example",
        ),
        ("https://h/a%20b/é", "https", "h", 443, b"/a%20b/%C3%A9", b"h"),
    ],
)
def test_a_base_url_is_taken_apart(text, scheme, host, port, base_path, authority):
    assert parse_base_url(text) == Endpoint(scheme, host, port, base_path, authority)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.openai.com",
        "ftp://h",
        "https://",
        "https:///v1",
        "https://h:0/",
        "https://h:99999/",
        "https://h:x/",
        "https://h/?key=sekrit",
        "https://h/#sekrit",
        "https://user:sekrit@h/",
        "https://h /",
        "https://h/\r\nx: sekrit",
        "https://[::1",
        "https://[sekrit]/",
        "https://" + "a" * 64 + ".example/",
        "https://a..b/",
    ],
)
def test_a_bad_base_url_is_a_sentence_that_repeats_no_secret(text):
    with pytest.raises(ValueError, match=r"^[A-Z].*[.?]$") as caught:
        parse_base_url(text)
    assert "sekrit" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_endpoint_or_a_value_error(text):
    for whole in (text, "https://" + text, "http://h/" + text):
        try:
            endpoint = parse_base_url(whole)
        except ValueError:
            continue
        assert endpoint.host == endpoint.host.lower()
        assert 0 < endpoint.port < 65536
        assert not set(b" \r\n\0?#") & set(endpoint.base_path + endpoint.authority)
        assert not endpoint.base_path.endswith(b"/")


def test_a_proxy_keeps_its_credentials_out_of_sight():
    proxy = parse_proxy("http://joe:p%40ss@proxy.example:3128")
    assert (proxy.host, proxy.port) == ("proxy.example", 3128)
    assert proxy.authorization == b"Basic am9lOnBAc3M="
    assert repr(proxy) == "Proxy(proxy.example:3128)"


@pytest.mark.parametrize(
    "text", ["https://joe:sekrit@h", "socks5://joe:sekrit@h", "joe:sekrit@h:1", "http://joe:sekrit@"]
)
def test_a_bad_proxy_is_a_sentence_without_credentials(text):
    with pytest.raises(ValueError, match=r"^[A-Z].*\.$") as caught:
        parse_proxy(text)
    assert "sekrit" not in str(caught.value)
    assert "joe" not in str(caught.value)
