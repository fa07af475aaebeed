"""What a person can do, where the evidence says more than the cause alone: the first row that fits. Pure.

A hint names the setting or the word on the card that helps, and nothing that is not there to look at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.events.causes import CAUSES, Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hint:
    """``causes``: to which causes it belongs, all if empty. ``said``: found in the line that explains the failure;
    ``near``: found there, in the address or in one of the last lines."""

    text: str
    causes: frozenset[Cause] = frozenset()
    said: re.Pattern[str] | None = None
    near: re.Pattern[str] | None = None

    def fits(self, cause: Cause, said: str, near: str) -> bool:
        if self.causes and cause not in self.causes:
            return False
        return (self.said is None or self.said.search(said) is not None) and (
            self.near is None or self.near.search(near) is not None
        )


EXPIRED = "The site's signed address expired during the download: install again, and it begins at the first address."
NO_WORDS = (
    "The tool printed nothing: take its quiet option (-q, -s) away on the card, and install again to see what it says."
)
NO_WORDS_FROM_SITE = (
    "The site answered with an error, and a quiet tool does not say which: check the address on the card, whether it "
    "needs a key, and take -q or -s away to see the answer."
)

NO_WORDS_FROM_DISK = (
    "The tool could not write the file and does not say why: make its folder first (`mkdir -p`), check the rights of "
    "ssh_user and the room on the disk, and take -q or -s away to see the reason."
)

_REFUSALS = frozenset({Cause.AUTH_REQUIRED, Cause.FORBIDDEN})


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


_HINTS = (
    _Hint(
        causes=_REFUSALS,
        said=_words(r"\b400\b|bad request|only one auth mechanism"),
        near=_words(
            r"x-amz-|signature=|sig=|only one auth mechanism|authorization|bearer|awaiting response\.\.\. 30\d"
        ),
        text="The site's storage refuses a signed address that comes with a key: the tool probably sent the "
        "Authorization header on to it. Put the key into the address (?token=…) or use the site's own tool.",
    ),
    _Hint(
        causes=_REFUSALS,
        said=_words(r"\b400\b|bad request"),
        text="The site calls the request wrong: check the address on the card, and whether an Authorization header is "
        "sent on to the site's storage, which refuses it.",
    ),
    _Hint(
        causes=frozenset({Cause.FORBIDDEN}),
        said=_words(r"\b451\b|legal reasons"),
        text="The site may not give this file to the instance's country: rent an instance elsewhere, or use another "
        "address on the card.",
    ),
    _Hint(
        causes=_REFUSALS,
        said=_words(r"\b402\b|payment required|early access"),
        text="The site asks for payment or early access for this file: buy it with the account of the key, or wait "
        "until it is free.",
    ),
    _Hint(
        causes=frozenset({Cause.FORBIDDEN}),
        said=_words(r"lfs budget|data quota"),
        text="The repository has used up its traffic on this site: use another address for the file on the card.",
    ),
    _Hint(
        causes=frozenset({Cause.RATE_LIMITED, Cause.FORBIDDEN}),
        said=_words(r"too many users have viewed|public link|download quota"),
        text="Google Drive has a limit a file and day: install again tomorrow, or use another address on the card.",
    ),
    _Hint(
        causes=_REFUSALS,
        near=_words(r"civitai\.com|\bcivitdl\b"),
        text="CivitAI refuses this file without a key that may have it: add the key and retry, on the page Keys or "
        "with `resource-installer keys set civitai`, or set INSTALLER_CIVITAI_API_KEY where the service runs. In early "
        "access, the account of the key has to buy it first.",
    ),
    _Hint(
        causes=_REFUSALS,
        near=_words(r"huggingface\.co|\bhf\.co|huggingface_hub|gatedrepo|^hf$|hf_debug"),
        text="Hugging Face refuses this file without a token that may have it: add the token and retry, on the page "
        "Keys or with `resource-installer keys set huggingface`, or set INSTALLER_HF_TOKEN where the service runs, and "
        "accept the model's licence on its page with the account of the token.",
    ),
    _Hint(
        causes=frozenset({Cause.NETWORK}),
        said=_words(r"presigned url|(?:request|signature|token|url|link) (?:has |is )?expired|expired ?token"),
        text=EXPIRED,
    ),
    _Hint(
        causes=frozenset({Cause.TLS}),
        said=_words(r"not (?:yet valid|valid yet|yet active|yet activated)|has expired|certificate is expired"),
        text="The certificate's dates do not fit the instance's clock: set the clock (`date`), or tell the site that "
        "its certificate has expired.",
    ),
    _Hint(
        causes=frozenset({Cause.VERIFICATION_FAILED}),
        said=_words(r"\b416\b|range not satisfiable|\((?:33|36)\)|exit status (?:33|36|8)\b"),
        text="The file on the instance cannot be continued: it is whole already, or not the beginning of the site's: "
        "delete it there and install again.",
    ),
    _Hint(
        causes=frozenset({Cause.PERMISSION}),
        said=_words(r"\bhome\b.{0,20}cannot be written|\.local/state|cannot write below"),
        text="The home folder of ssh_user cannot be written: check HOME and its rights on the instance.",
    ),
    _Hint(
        causes=frozenset({Cause.PERMISSION}),
        said=_words(r"not a directory|is a directory"),
        text="A file lies where the path on the card has a folder, or the other way round: check the path.",
    ),
    _Hint(
        causes=frozenset({Cause.PERMISSION}),
        said=_words(r"^(?!.*\b(?:wget|curl): ).*(?:cannot (?:stat|open|access|find)|can't open).*no such file"),
        text="A command reads a file that is not there: check the paths on the card, and the download before it.",
    ),
    _Hint(
        causes=frozenset({Cause.PERMISSION}),
        said=_words(r"no such file or directory|\[errno 2\]"),
        text="The folder is not there: put `mkdir -p` with the folder before the download on the card.",
    ),
    _Hint(
        causes=frozenset({Cause.PERMISSION}),
        said=_words(r"read-only file system"),
        text="This part of the instance's disk is read-only: choose another folder as ui_home.",
    ),
    _Hint(
        causes=frozenset({Cause.TOOL_MISSING}),
        said=_words(r"no module named"),
        text="A Python package is missing on the instance: install it (pip) at the beginning of the card's commands.",
    ),
    _Hint(
        causes=frozenset({Cause.UNKNOWN}),
        said=_words(
            r"unrecogni[sz]ed option|invalid option|unknown option|option .{1,60} (?:is unknown|not recognized)"
        ),
        text="The tool on the instance does not know an option of the card's command: it is another version, or "
        "another program of the same name.",
    ),
)


def hint_for(cause: Cause, said: str, near: str = "") -> str:
    """The hint that fits. ``said``: the line that explains the failure; ``near``: the address and the last lines."""
    near = f"{near}\n{said}"
    fitting = (hint.text for hint in _HINTS if hint.fits(cause, said, near))
    return next(fitting, CAUSES[cause].hint)
