"""Build the embedded corpus into the cache, once: `python -m data_scripts.build_embedded`."""

import time
from collections import Counter

from course_lib import files, music

if __name__ == "__main__":
    started = time.perf_counter()
    counts = Counter(piece.composer for piece in music.corpus.embedded())
    listed = ", ".join(f"{composer.capitalize()} {counts[composer]}" for composer in music.corpus.COMPOSERS)
    print(f"Embedded corpus ready in {time.perf_counter() - started:.1f} s: {listed} ({files.cache_folder()})")
