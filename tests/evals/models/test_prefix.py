"""What sequences have in common, found by their tokens alone."""

import random

from evals.models.prefix import FORWARD_TOKENS, cluster, common_length, find_leaves

SHOTS = tuple(range(1000, 1200))


def asked(*sequences: tuple[int, ...], first_from_end: int = 1):
    return find_leaves(sequences, [len(tokens) - first_from_end for tokens in sequences])


def test_sequences_share_up_to_the_first_difference() -> None:
    assert common_length((1, 2, 3), (1, 2, 4, 5)) == 2
    assert common_length((1, 2), (1, 2, 3)) == 2
    assert common_length((), (1,)) == 0


def test_equal_sequences_and_beginnings_of_others_are_read_once() -> None:
    leaves, hosts = asked((5, 6, 7, 8), (5, 6), (5, 6, 7, 8), (9,), (5, 6, 7))

    assert [leaf.tokens for leaf in leaves] == [(5, 6, 7, 8), (9,)]
    assert hosts == [0, 0, 0, 1, 0]
    # The shortest asks for its last position.
    assert leaves[0].first == 1


def test_tokens_sort_as_numbers_and_not_as_bytes() -> None:
    leaves, _ = asked((256, 1), (1, 2), (65536, 3))

    assert [leaf.tokens[0] for leaf in leaves] == [1, 256, 65536]


def test_questions_with_the_same_examples_share_them() -> None:
    questions = [(*SHOTS, number, number, 7) for number in range(4)]
    leaves, _ = asked(*questions, (3, 3, 3))

    found = cluster(leaves)

    assert found[0].prefix == SHOTS
    assert sorted(leaves[leaf].tokens for pack in found[0].packs for leaf in pack) == questions
    assert found[1].prefix == ()
    assert [leaves[leaf].tokens for pack in found[1].packs for leaf in pack] == [(3, 3, 3)]


def test_two_sets_of_examples_are_not_cut_to_what_both_share() -> None:
    one = [(1, 2, *SHOTS, number, 7) for number in range(6)]
    other = [(1, 3, *SHOTS, number, 7) for number in range(6)]
    leaves, _ = asked(*one, *other)

    assert [found.prefix for found in cluster(leaves)] == [(1, 2, *SHOTS), (1, 3, *SHOTS)]


def test_choices_of_one_question_are_one_pack() -> None:
    choices = [(1, 2, 3, 4, choice, 8, 9) for choice in range(5)]
    leaves, _ = asked(*choices, (1, 2, 5, 6, 7, 8, 9), first_from_end=3 + 1)

    assert [len(pack) for found in cluster(leaves) for pack in found.packs] == [5, 1]


def test_a_prefix_that_saves_less_than_its_forward_costs_is_not_cut() -> None:
    short = tuple(range(FORWARD_TOKENS // 2))
    leaves, _ = asked(*((*short, 900 + number, 1) for number in range(2)))

    assert [found.prefix for found in cluster(leaves)] == [()]


def test_a_prefix_ends_before_the_first_position_that_is_asked_for() -> None:
    leaves, _ = find_leaves([(*SHOTS, 1), (*SHOTS, 2), (*SHOTS, 3)], [150, 200, 200])

    assert len(cluster(leaves)[0].prefix) == 150


def test_every_leaf_stands_in_one_pack_and_continues_its_prefix() -> None:
    draw = random.Random(0)  # noqa: S311
    sequences = []
    for _ in range(300):
        stem = tuple([draw.randrange(2)] * draw.randrange(1, 120))
        sequences.append((*stem, *(draw.randrange(3) for _ in range(draw.randrange(1, 6)))))
    firsts = [draw.randrange(len(tokens)) for tokens in sequences]
    leaves, hosts = find_leaves(sequences, firsts)

    placed = []
    for found in cluster(leaves):
        for pack in found.packs:
            placed += pack
            for number in pack:
                assert leaves[number].tokens[: len(found.prefix)] == found.prefix
                assert leaves[number].first >= len(found.prefix)
    assert sorted(placed) == list(range(len(leaves)))
    for tokens, first, host in zip(sequences, firsts, hosts, strict=True):
        assert leaves[host].tokens[: len(tokens)] == tokens
        assert leaves[host].first <= first
