"""Writes gensim.bin and gensim.txt: three words as gensim 4.4 writes them. Needs gensim.

python tests/recorded/make_word_vectors.py
"""

import pathlib

import numpy as np
from gensim.models import KeyedVectors

HERE = pathlib.Path(__file__).parent

vectors = KeyedVectors(vector_size=3)
rows = np.array([[0.1, -2.5e-8, 3.0], [1 / 3, 7.25, -1.0], [0.0, 1e20, -0.0]], np.float32)
vectors.add_vectors(["the", "naïve", "don't"], rows)
vectors.save_word2vec_format(str(HERE / "gensim.bin"), binary=True)
vectors.save_word2vec_format(str(HERE / "gensim.txt"), binary=False)
