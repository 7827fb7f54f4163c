"""Words as numbers."""

import pytest

from ssan.data.questions import encode_questions, vocabulary, words_in

QUESTIONS = ["What is the red shape?", "is it red?", "what is it", "What is 'the' red shape ?"]


def test_questions_come_back_from_their_ids():
    words = vocabulary(QUESTIONS)
    assert words == vocabulary(reversed(QUESTIONS)) == ("<unk>", "<pad>", "is", "it", "red", "shape", "the", "what")
    tokens, lengths = encode_questions([*QUESTIONS, "is that red"], words)
    assert lengths.tolist() == [5, 3, 3, 5, 3]
    assert tokens[4].tolist() == [2, 0, 4, 1, 1]
    for question, row, length in zip(QUESTIONS, tokens.tolist(), lengths.tolist(), strict=False):
        assert [words[i] for i in row[:length]] == words_in(question)
        assert row[length:] == [1] * (5 - length)
    assert words_in(QUESTIONS[3]) == ["what", "is", "the", "red", "shape"]
    assert [len(part) for part in encode_questions([], words)] == [0, 0]


@pytest.mark.parametrize("question", ["why so", "", "?!"])
def test_questions_without_a_known_word(question):
    with pytest.raises(ValueError, match="no word of the question"):
        encode_questions(["is it red", question], vocabulary(QUESTIONS))
