"""Prompts for training: a move said in one of its ways, inside free text or alone.

Seeded and pure Python. A prompt is text about anything (subject, place, style) with at most one
or two move phrases in it; words like "left" also turn up where they mean no move, so the text
encoder has to read the phrase and not the single word.
"""

from __future__ import annotations

import random

from render.pocket.moves import FAST_WORDS, PHRASES, SLOW_WORDS, Move

_SUBJECTS = [
    "cat",
    "dog",
    "man",
    "woman",
    "child",
    "girl",
    "boy",
    "horse",
    "bird",
    "owl",
    "fox",
    "wolf",
    "lion",
    "tiger",
    "bear",
    "deer",
    "fish",
    "whale",
    "dragon",
    "robot",
    "astronaut",
    "knight",
    "wizard",
    "dancer",
    "singer",
    "painter",
    "soldier",
    "sailor",
    "pilot",
    "chef",
    "monk",
    "king",
    "queen",
    "princess",
    "old-man",
    "couple",
    "crowd",
    "car",
    "truck",
    "train",
    "ship",
    "boat",
    "bicycle",
    "motorcycle",
    "plane",
    "rocket",
    "spaceship",
    "castle",
    "house",
    "cabin",
    "tower",
    "bridge",
    "street",
    "city",
    "village",
    "market",
    "temple",
    "church",
    "lighthouse",
    "cafe",
    "library",
    "kitchen",
    "bedroom",
    "garden",
    "forest",
    "mountain",
    "valley",
    "river",
    "lake",
    "ocean",
    "beach",
    "desert",
    "island",
    "waterfall",
    "meadow",
    "field",
    "road",
    "cup",
    "coffee",
    "bottle",
    "book",
    "candle",
    "lamp",
    "flower",
    "rose",
    "tree",
    "leaf",
    "apple",
    "bread",
    "cake",
    "sandwich",
    "table",
    "chair",
    "window",
    "door",
    "clock",
    "piano",
    "guitar",
    "violin",
    "camera",
    "computer",
    "phone",
    "statue",
    "mask",
    "portrait",
    "face",
    "hand",
    "eye",
    "sky",
    "cloud",
    "moon",
    "sun",
    "star",
    "galaxy",
    "planet",
    "storm",
    "snow",
    "rain",
    "fire",
    "smoke",
    "fog",
]
_ADJECTIVES = [
    "red",
    "blue",
    "green",
    "golden",
    "silver",
    "black",
    "white",
    "dark",
    "bright",
    "old",
    "young",
    "tiny",
    "giant",
    "beautiful",
    "mysterious",
    "lonely",
    "happy",
    "sad",
    "angry",
    "wild",
    "calm",
    "ancient",
    "modern",
    "futuristic",
    "abandoned",
    "cozy",
    "elegant",
    "rusty",
    "glowing",
    "misty",
    "frozen",
    "burning",
    "sleeping",
    "smiling",
    "flying",
    "wooden",
    "glass",
    "stone",
    "metal",
    "colorful",
    "vintage",
    "fluffy",
    "orange",
    "purple",
    "tabby",
]
_PLACES = """on a sofa|in the rain|under the stars|at night|at sunset|at dawn|in a dark forest|
on the beach|in the city|by the window|in the snow|near a river|in space|on a table|in a garden|
on the street|over the mountains|in the fog|in a crowded market|beside the road|in an old house|
on the left|on the right|in the left corner|on the right side of the picture|with an upturned face|
standing to one side|with the left hand raised|at the top of the stairs|in the upper right corner|
down in the valley|up on the hill|with the right foot forward|in the centre|left alone|
turning its head|in motion|looking at the camera|next to a rolling hill|still life|
in the lower left corner|holding a cup|rolling on the grass|walking down the road|
growing upwards""".replace("\n", "").split("|")
_STYLES = """cinematic|high quality|4k|8k|masterpiece|film grain|35mm|soft light|golden hour|
dramatic lighting|volumetric light|shallow depth of field|bokeh|photorealistic|ultra detailed|
anime style|oil painting|watercolor|black and white|vintage film|documentary|moody|warm colors|
cold tones|sharp focus|best quality|hyperrealistic|studio lighting|wide shot|close-up|
medium shot|aerial view|low angle|portrait|landscape|noir|pastel colors|high contrast|
natural light|unreal engine|trending on artstation|smooth|realistic|beautiful composition|
wide angle|fine details|professional photograph|epic|dreamy|calm mood|silent""".replace(
    "\n", ""
).split("|")
_NEGATIVES = """blurry|low quality|worst quality|jpeg artifacts|distorted|ugly|watermark|text|
subtitles|overexposed|static|deformed|bad anatomy|extra fingers|noise|flicker|grainy|messy|
cropped|still picture|out of focus|oversaturated|jitter|duplicate|morphing|
vivid colors|blurred details|style|work|painting|still image|overall gray|incomplete|
poorly drawn hands|poorly drawn faces|mutilated|fused fingers|motionless|cluttered background|
three legs|many people in the background|walking backwards""".replace("\n", "").split("|")
_LETTERS = "eeeeaaaiiooutnnsshrrdlcmfpgwybvkxjqz"

MOVE_WEIGHTS: dict[Move, float] = {
    Move.STATIC: 1.0,
    Move.GENTLE: 1.0,
    Move.PAN_LEFT: 1.5,
    Move.PAN_RIGHT: 1.5,
    Move.TILT_UP: 1.5,
    Move.TILT_DOWN: 1.5,
    Move.ZOOM_IN: 1.5,
    Move.ZOOM_OUT: 1.5,
    Move.ROLL_CLOCKWISE: 1.1,
    Move.ROLL_COUNTER: 1.1,
}
"""How often each move is drawn, relative."""


def dice(seed: int) -> random.Random:
    """A seeded source of draws."""
    return random.Random(seed)  # noqa: S311


def draw_move(*, rng: random.Random) -> Move:
    """One move, drawn by MOVE_WEIGHTS."""
    return rng.choices(list(MOVE_WEIGHTS), weights=list(MOVE_WEIGHTS.values()))[0]


def say_move(*, move: Move, speed: int, rng: random.Random) -> str:
    """One phrase for a move; ``speed`` is -1 slow, 0 normal, 1 fast. Empty for GENTLE."""
    phrases = PHRASES[move]
    if not phrases:
        return ""
    phrase = rng.choice(phrases)
    adjective = adverb = ""
    if speed:
        adjective = rng.choice(SLOW_WORDS if speed < 0 else FAST_WORDS)
        adverb = "fast" if adjective == "fast" else _adverb(adjective)
    if speed and not any(slot in phrase for slot in ("{a}", "{v}", "{e}")):
        phrase += "{e}"
    if adverb == "fast":
        # "the camera fast pans" is no English; the adverb goes to the end
        phrase = phrase.replace("{v}", "") + ("{e}" if "{v}" in phrase else "")
    slots = {
        "{a}": f"{adjective} " if speed else "",
        "{v}": f"{adverb} " if speed else "",
        "{e}": f" {adverb}" if speed else "",
    }
    for slot, word in slots.items():
        phrase = phrase.replace(slot, word)
    return phrase.strip()


def say_prompt(*, moves: list[Move], speed: int, rng: random.Random) -> str:
    """A whole prompt that asks for ``moves`` (joined by "and" or "while") at one speed."""
    said = [p for m in moves if (p := say_move(move=m, speed=speed, rng=rng))]
    move = rng.choice((" and ", ", then ", " while ", ", ", " with a ")).join(said)
    if move and rng.random() < 0.2:
        return _punctuate(move, rng)
    scene = _scene(rng)
    styles = rng.sample(_STYLES, rng.choice((0, 0, 1, 1, 2, 3)))
    parts = [scene, move] if rng.random() < 0.7 else [move, scene]
    for style in styles:
        parts.insert(rng.randint(0, len(parts)) if rng.random() < 0.3 else len(parts), style)
    text = rng.choice((", ", ", ", ", ", ". ", " ", "; ", " - ")).join(p for p in parts if p)
    return _punctuate(text, rng)


def say_nothing(*, rng: random.Random) -> str:
    """The unconditional prompt: mostly empty, at times the list of a negative prompt."""
    if rng.random() < 0.65:
        return ""
    return ", ".join(rng.sample(_NEGATIVES, rng.randint(1, 9)))


def _adverb(adjective: str) -> str:
    """The adverb of an adjective in SLOW_WORDS or FAST_WORDS."""
    return adjective[:-1] + "y" if adjective.endswith("le") else adjective + "ly"


def _scene(rng: random.Random) -> str:
    """A subject, perhaps in a place, perhaps with words nobody has seen before."""
    words = []
    if rng.random() < 0.6:
        words.append(rng.choice(("a", "the", "an", "one", "two", "some")))
    if rng.random() < 0.5:
        words.append(rng.choice(_ADJECTIVES))
    words.append(_gibberish(rng) if rng.random() < 0.25 else rng.choice(_SUBJECTS))
    if rng.random() < 0.6:
        words.append(rng.choice(_PLACES))
    for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
        words.insert(rng.randint(0, len(words)), _gibberish(rng))
    return " ".join(words)


def _gibberish(rng: random.Random) -> str:
    """A word of random letters: stands for every word the training text does not hold."""
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 9)))


def _punctuate(text: str, rng: random.Random) -> str:
    """Ends a prompt with a full stop at times, as people do."""
    return text + ("." if rng.random() < 0.3 else "")
