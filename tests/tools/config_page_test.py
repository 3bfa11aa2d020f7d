import config_page as tool

from tf_earlyticket.config import Config, flatten


def test_the_page_lists_every_field_with_its_default_as_it_is_now():
    text = tool.page()
    assert tool.PAGE.read_text() == text, "run python tools/config_page.py"
    for name in flatten(Config().to_dict()):
        assert f"| `config.{name}` | " in text
