"""Invented teachers, students, essay titles and file errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from els_stream.demo.random_source import RandomSource

COURSES: Final = ("ENG5", "ENG6", "ENG7", "SV1", "SV2", "SV3")

TEACHERS: Final = (
    "ms-frizzle",
    "miss-honey",
    "mr-keating",
    "professor-mcgonagall",
    "froken-overstrom",
    "mr-feeny",
    "dr-jones",
    "lektor-kronstedt",
)

STUDENTS: Final = (
    "Pippi",
    "Matilda",
    "Huck",
    "Ronja",
    "Adrian Mole",
    "Scout",
    "Emil",
    "Anne with an e",
    "Tom S.",
    "Lisa S.",
    "Little My",
    "Bastian",
    "Momo",
    "Nils",
)

TITLES: Final = (
    "Why My Cat Should Be Prime Minister",
    "Moby-Dick, but Shorter",
    "Hamlet Should Have Texted",
    "Varför surströmming är ett vapen",
    "In Defence of the Oxford Comma, Semicolons, and Naps",
    "The Great Gatsby Was Only Okay",
    "Min mormor mot maskinen",
    "On the Ethics of Eating the Last Cinnamon Bun",
    "Frankenstein's Monster: a Character Reference",
    "How I Spent Four Minutes on This Essay",
    "Pippi Långstrump som finansminister",
    "1984 Reasons to Hand In Late",
    "Waiting for Godot, and for the Bus",
    "Romeo, Juliet and the Postal Service",
    "Röda rummet borde målas om",
    "The Road Not Taken Had Better Wi-Fi",
)

ENDINGS: Final = (".docx", ".docx", ".pdf", " (1).docx", " FINAL.docx", " final FINAL v3.docx", ".odt", ".pages")

# Error code of the contract, and the message of the file service.
FILE_ERRORS: Final = (
    ("EMPTY_CONTENT", "Twelve pages, all of them blank"),
    ("CONTENT_TOO_SHORT", "The whole essay reads: 'No.'"),
    ("CONTENT_TOO_LONG", "War and Peace, retyped"),
    ("TEXT_EXTRACTION_FAILED", "A photograph of a dog; the dog looks full"),
    ("ENCRYPTED_FILE_UNSUPPORTED", "The password is not 'password'; nor 'Password1'"),
    ("UNKNOWN_VALIDATION_ERROR", "Coffee, probably"),
)


def file_name(rng: RandomSource) -> str:
    return f"{rng.choice(STUDENTS)} - {rng.choice(TITLES)}{rng.choice(ENDINGS)}"
