"""Generation settings as text, against the stock tool's own reading."""

import pytest
from lm_eval._cli.utils import key_val_to_dict

from evals.errors import InputError
from evals.gen_kwargs import read_gen_kwargs


@pytest.mark.parametrize(
    "text",
    [
        "",
        "temperature=0.7",
        "temperature=0,top_p=0.95,do_sample=true",
        r'until=["\n\n","a,b"],max_gen_toks=64',
        'until=["="]',
        "cache_implementation=static,do_sample=False",
        "temperature=1e-3,top_k=-1",
    ],
)
def test_settings_read_as_the_stock_tool_reads_them(text: str) -> None:
    ours = {key: list(value) if isinstance(value, tuple) else value for key, value in read_gen_kwargs(text).items()}

    assert ours == key_val_to_dict(text)


@pytest.mark.parametrize(("text", "complaint"), [("temperature", "is not name=value"), ("a=1,a=2", "given twice")])
def test_what_is_not_a_setting_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_gen_kwargs(text)
