"""The words of the generated catalogue: categories, nouns, styles, and phrases for descriptions and reviews."""

from __future__ import annotations

__all__ = [
    "BRAND_ENDS",
    "BRAND_STARTS",
    "CATEGORIES",
    "COMPLAINTS",
    "DESCRIPTIONS",
    "FEATURES",
    "NOUNS",
    "OPENERS",
    "PRAISES",
    "REVIEWS_BAD",
    "REVIEWS_GOOD",
    "STYLES",
]

CATEGORIES: tuple[tuple[str, str], ...] = (
    ("Home", "Lighting"),
    ("Home", "Cookware"),
    ("Home", "Bedding"),
    ("Leisure", "Board Games"),
    ("Leisure", "Puzzles"),
    ("Leisure", "Craft Kits"),
    ("Outdoor", "Camping"),
    ("Outdoor", "Gardening"),
    ("Outdoor", "Cycling"),
    ("Office", "Stationery"),
    ("Office", "Desk Storage"),
    ("Office", "Audio"),
)
"""(department, category) of each leaf of the category tree."""

NOUNS: tuple[tuple[str, ...], ...] = (
    ("Lamp", "Lantern", "Chandelier", "Sconce", "Night Light", "Floor Lamp", "Pendant", "Candle Holder"),
    ("Saucepan", "Skillet", "Wok", "Casserole", "Griddle", "Stockpot", "Roasting Tin", "Milk Pan"),
    ("Blanket", "Pillow", "Duvet", "Quilt", "Bedspread", "Mattress Pad", "Sheet Set", "Bolster"),
    ("Chess Set", "Card Game", "Dice Game", "Strategy Game", "Domino Set", "Trivia Game", "Checkers", "Word Game"),
    ("Jigsaw", "Brain Teaser", "Cube Puzzle", "Maze Box", "Wire Puzzle", "Map Puzzle", "Tangram", "Logic Book"),
    ("Knitting Kit", "Paint Set", "Clay Kit", "Loom", "Beading Kit", "Origami Kit", "Candle Kit", "Weaving Frame"),
    ("Tent", "Sleeping Bag", "Camp Stove", "Hammock", "Headlamp", "Cool Box", "Camp Chair", "Water Filter"),
    ("Trowel", "Watering Can", "Planter", "Pruner", "Seed Tray", "Garden Fork", "Hose Reel", "Bird Feeder"),
    ("Bike Pump", "Bike Bell", "Saddle", "Pannier", "Bike Lock", "Handlebar Bag", "Mudguard", "Bottle Cage"),
    ("Notebook", "Fountain Pen", "Planner", "Pencil Set", "Stamp Set", "Letter Paper", "Eraser Set", "Marker Set"),
    ("Drawer Unit", "Letter Tray", "Pen Cup", "Cable Box", "File Box", "Book End", "Monitor Stand", "Card Index"),
    ("Headset", "Speaker", "Microphone", "Earbuds", "Sound Bar", "Radio", "Turntable", "Audio Mixer"),
)
"""Nouns of each category; no noun is in two categories."""

STYLES = ("Rustic", "Minimal", "Vintage", "Neon", "Travel", "Deluxe", "Eco", "Compact")

FEATURES = (
    "folds flat",
    "wipes clean",
    "lasts for years",
    "comes with a case",
    "weighs very little",
    "fits small rooms",
    "is easy to repair",
    "works in any weather",
    "needs no tools",
    "makes a fine gift",
)

DESCRIPTIONS = (
    "A {style} {noun} that {feature}.",
    "This {noun} has a {style} look and {feature}.",
    "Our {style} take on the {noun}. It {feature}.",
    "{brand} made this {noun} for people who want something {style}; it {feature}.",
    "The {noun} {feature}, and its design is {style} through and through.",
)

OPENERS = (
    "Honestly,",
    "After a month:",
    "Bought for my sister.",
    "Second one I own.",
    "Well,",
    "To be fair,",
    "",
    "",
    "",
)

PRAISES = (
    "it {feature}",
    "the {style} look is just right",
    "I use it every day",
    "better than I hoped",
    "everyone asks where I got it",
    "worth the money",
)

COMPLAINTS = (
    "the {style} look is not for me",
    "it broke within a week",
    "smaller than I thought",
    "I sent it back",
    "not what I was after",
    "I expected more from {brand}",
)

REVIEWS_GOOD = (
    "{opener} great {noun}, {phrase}.",
    "{opener} I love this {noun}: {phrase}.",
    "{opener} {phrase}, would buy again.",
    "{opener} lovely {noun} and {phrase}.",
)

REVIEWS_BAD = (
    "{opener} disappointing {noun}, {phrase}.",
    "{opener} {phrase}.",
    "{opener} I wanted to like this {noun} but {phrase}.",
)

BRAND_STARTS = (
    "Mar", "Tav", "Lor", "Bel", "Kes", "Dun", "Fer", "Gal", "Hol", "Jas", "Nor", "Pel", "Quin", "Ros", "Sel", "Tor",
    "Ul", "Vas", "Wil", "Yor", "Zan", "Bram", "Cor", "Drev", "Eld",
)  # fmt: skip

BRAND_ENDS = (
    "low", "ik", "enz", "mont", "ter", "aby", "ano", "wick", "den", "ova", "ley", "mar", "sen", "ton", "ix", "by",
)  # fmt: skip
