import psutil
import pytest

from sweep.data import template as templates
from sweep.data.rows import Message, Row, UnfitError
from sweep.data.template import Rendered, end_of_turn, render_all, uses_template
from sweep.errors import DataError
from sweep.spec import DataSpec

ROW = Row(7, (Message("user", "Hi"),), "Hi", "Hello", None)
CHATML_PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def rendered(tokenizer, row: Row = ROW, *, template: bool = True, system: str | None = None) -> Rendered:
    (found,) = render_all([row], tokenizer, file="d.jsonl", template=template, system=system)
    if isinstance(found, UnfitError):
        raise found
    return found


def test_the_completion_is_what_the_template_writes_after_the_prompt(tiny_tokenizer) -> None:
    assert rendered(tiny_tokenizer) == Rendered(CHATML_PROMPT, "Hello<|im_end|>\n")


def test_plain_prompts_are_joined_as_given_and_end_the_sequence(tiny_tokenizer) -> None:
    assert rendered(tiny_tokenizer, template=False) == Rendered("Hi", "Hello<|im_end|>")


def test_an_end_that_the_user_wrote_is_not_doubled(tiny_tokenizer) -> None:
    row = Row(1, (), "", "Hello<|im_end|>", None)

    assert rendered(tiny_tokenizer, row, template=False).completion == "Hello<|im_end|>"


def test_a_system_message_comes_first_only_where_there_is_none(tiny_tokenizer) -> None:
    own = Row(1, (Message("system", "Mine."), Message("user", "Hi")), None, "Hello", None)

    assert rendered(tiny_tokenizer, system="Be kind.").prompt.startswith("<|im_start|>system\nBe kind.<|im_end|>\n")
    assert "Be kind." not in rendered(tiny_tokenizer, own, system="Be kind.").prompt


def test_a_template_that_ends_no_turn_gets_the_end_of_the_sequence(tiny_tokenizer) -> None:
    tiny_tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )

    assert rendered(tiny_tokenizer) == Rendered("user: Hi\nassistant: ", "Hello\n<|im_end|>")


def test_a_template_that_renders_the_prompt_differently_is_refused(tiny_tokenizer) -> None:
    tiny_tokenizer.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"

    with pytest.raises(DataError, match=r"d\.jsonl:7: this model's chat template renders the prompt alone differently"):
        rendered(tiny_tokenizer)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('Roles must alternate') }}", "Roles must alternate"),
        ("{{ messages[9]['content'] }}", "refuses it"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for %}", "refuses it"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses it"),
    ],
)
def test_a_template_that_fails_on_a_row_leaves_it_out(template: str, reason: str, tiny_tokenizer) -> None:
    tiny_tokenizer.chat_template = template

    with pytest.raises(UnfitError, match=reason):
        rendered(tiny_tokenizer)


def test_a_template_that_drops_words_of_the_answer_leaves_the_row_out(tiny_tokenizer) -> None:
    tiny_tokenizer.chat_template = tiny_tokenizer.chat_template.replace(
        "message['content']", "message['content'].split('</think>')[-1]"
    )
    row = Row(1, (Message("user", "Hi"),), "Hi", "<think>hm</think>Hello", None)

    with pytest.raises(UnfitError, match="leaves out a part of the answer"):
        rendered(tiny_tokenizer, row)


def test_answers_end_where_the_template_ends_a_turn(tiny_tokenizer) -> None:
    tiny_tokenizer.chat_template = tiny_tokenizer.chat_template.replace("<|im_end|>\n", "<end_of_turn>\n")

    assert end_of_turn([rendered(tiny_tokenizer)], ["Hello"], tiny_tokenizer) == ("<end_of_turn>", "<|im_end|>")


POLICIES = [
    # shape, apply_chat_template, system, the tokenizer has a template: uses it, or the complaint
    ("prompt", None, None, True, True),
    ("prompt", None, None, False, False),
    ("prompt", False, None, True, False),
    ("prompt", True, None, False, "data.apply_chat_template: this model's tokenizer has no chat template"),
    ("prompt", None, "Be kind.", False, "data.system: this model's tokenizer has no chat template"),
    ("prompt", False, "Be kind.", True, "data.system: a system message needs the chat template"),
    ("messages", None, None, True, True),
    ("messages", None, None, False, "messages: this model's tokenizer has no chat template"),
    ("messages", False, None, True, "conversations need the chat template"),
    ("text", None, None, True, False),
    ("text", True, None, True, "learned as they are"),
]


@pytest.mark.parametrize(("shape", "asked", "system", "has_template", "expected"), POLICIES)
def test_the_template_is_used_where_the_study_can_have_it(  # noqa: PLR0917
    shape, asked, system, has_template, expected, tiny_tokenizer
) -> None:
    spec = DataSpec(train="d.jsonl", apply_chat_template=asked, system=system)
    if not has_template:
        tiny_tokenizer.chat_template = None

    if isinstance(expected, bool):
        assert uses_template(spec, shape, tiny_tokenizer) is expected
    else:
        with pytest.raises(DataError, match=expected):
            uses_template(spec, shape, tiny_tokenizer)


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "did not end within 2 s"),
        ("{{ 9 ** (9 ** 9) }}", "did not end within 2 s|wanted more than"),
        ("{{ 'a' * 10 ** 10 }}", "wanted more than 1024 MiB"),
        (
            "{% set n = namespace(t='aa') %}{% for i in range(40) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
            "wanted more than 1024 MiB|did not end within 2 s",
        ),
        ("{{ '%2000000000d' % 1 }}", "wanted more than 1024 MiB"),
    ],
)
def test_a_template_that_would_use_up_the_machine_is_stopped(
    tiny_tokenizer, monkeypatch, hostile: str, reason: str
) -> None:
    monkeypatch.setattr(templates, "RENDER_SECONDS", 2.0)
    tiny_tokenizer.chat_template = hostile + tiny_tokenizer.chat_template

    with pytest.raises(DataError, match=rf"^d\.jsonl: this model's chat template fails .*({reason})"):
        rendered(tiny_tokenizer)


@pytest.mark.parametrize(
    "hostile",
    [
        "{{ cycler.__init__.__globals__.os.system('touch sprung') }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__['__builtins__']['open']('sprung', 'w') }}",
        "{% set x = messages.append({'role': 'user', 'content': 'more'}) %}",
        "{% include 'secret.txt' %}",
        "{% import 'os' as os %}",
        "{{ lipsum.__globals__['os'].popen('touch sprung').read() }}",
    ],
)
def test_a_template_does_not_leave_its_sandbox(tiny_tokenizer, tmp_path, monkeypatch, hostile: str) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_tokenizer.chat_template = hostile + tiny_tokenizer.chat_template

    with pytest.raises(UnfitError, match="the chat template refuses it"):
        rendered(tiny_tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_rendering_in_a_copy_of_the_process_leaves_nothing_behind(tiny_tokenizer) -> None:
    before = set(psutil.Process().children()), psutil.Process().num_fds()

    rendered(tiny_tokenizer)

    assert (set(psutil.Process().children()), psutil.Process().num_fds()) == before
