import layers_page as tool

from tf_earlyticket.backends.layer_kinds import KINDS


def test_the_page_lists_every_kind_as_it_is_now():
    text = tool.page()
    assert tool.PAGE.read_text() == text, "run python tools/layers_page.py"
    for kind in KINDS.values():
        assert f"| {kind.name}: `" in text
    assert "`LSTM`" in text and "`MultiHeadAttention`" in text
