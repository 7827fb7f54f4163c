"""Words and answers as numbers."""

import pytest
import torch

from ssan.data.questions import encode_answers, encode_questions, vocabulary, words_in

QUESTIONS = ["What is the red shape?", "is it red?", "what is it"]


def test_words():
    assert words_in("What is 'the' red shape ?") == ["what", "is", "the", "red", "shape"]


def test_vocabulary_is_sorted_behind_the_special_words():
    assert vocabulary(QUESTIONS) == ("<unk>", "<pad>", "is", "it", "red", "shape", "the", "what")
    assert vocabulary(reversed(QUESTIONS)) == vocabulary(QUESTIONS)


def test_questions_come_back_from_their_ids():
    words = vocabulary(QUESTIONS)
    tokens, lengths = encode_questions(QUESTIONS, words)
    for question, row, length in zip(QUESTIONS, tokens.tolist(), lengths.tolist(), strict=True):
        assert [words[i] for i in row[:length]] == words_in(question)
        assert row[length:] == [1] * (5 - length)


def test_unknown_words_among_known_ones():
    tokens, lengths = encode_questions(["is that red"], vocabulary(QUESTIONS))
    assert tokens.tolist() == [[2, 0, 4]]
    assert lengths.tolist() == [3]


@pytest.mark.parametrize("question", ["why so", "", "?!"])
def test_questions_without_a_known_word(question):
    with pytest.raises(ValueError, match="no word of the question"):
        encode_questions(["is it red", question], vocabulary(QUESTIONS))


def test_no_questions():
    tokens, lengths = encode_questions([], vocabulary(QUESTIONS))
    assert len(tokens) == len(lengths) == 0


def test_answers():
    assert torch.equal(encode_answers(["no", "yes", "no"], ("yes", "no")), torch.tensor([1, 0, 1]))
    with pytest.raises(ValueError, match=r"answers \['maybe'\] are not among the 2 classes"):
        encode_answers(["no", "maybe"], ("yes", "no"))
