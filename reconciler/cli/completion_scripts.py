"""Completion scripts of each shell. Pure: descriptions of verbs and options in, scripts out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """`takes`: '' no value, 'directory', 'words' (one of `words`), or 'value'."""

    names: tuple[str, ...]
    about: str
    takes: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verb:
    """`words`: possible arguments; `files`: whether files are arguments."""

    name: str
    about: str
    options: tuple[Option, ...]
    files: bool
    words: tuple[str, ...] = ()


def _flags(options: Iterable[Option]) -> str:
    return " ".join(name for option in options for name in option.names)


_BASH = """\
# bash completion for pcn and pcn-apply
_pcn_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_pcn_files() { mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen "$1" -- "$cur"); }
_pcn() {
    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb=apply
    COMPREPLY=()
    if [ "${COMP_WORDS[0]##*/}" = pcn ]; then
        verb=${COMP_WORDS[1]}
        if [ "$COMP_CWORD" = 1 ]; then _pcn_words '@VERBS@ --help --version'; return; fi
    fi
    case $verb:$before in
@VALUES@
    esac
    case $verb in
@WORDS@
    esac
}
complete -o filenames -F _pcn pcn pcn-apply"""


def bash(verbs: Sequence[Verb]) -> str:
    values, words = [], []
    for verb in verbs:
        for option in verb.options:
            found = {"words": f"_pcn_words '{' '.join(option.words)}'; ", "directory": "_pcn_files -d; ", "value": ""}
            if option.takes:
                names = "|".join(f"{verb.name}:{name}" for name in option.names)
                values.append(f"        {names}) {found[option.takes]}return ;;")
        files = " [[ $cur == -* ]] || _pcn_files -f ;;" if verb.files else " ;;"
        words.append(f"        {verb.name}) _pcn_words '{' '.join([_flags(verb.options), *verb.words])}';{files}")
    text = _BASH.replace("@VERBS@", " ".join(verb.name for verb in verbs))
    return text.replace("@VALUES@", "\n".join(values)).replace("@WORDS@", "\n".join(words))


_ZSH = """\
#compdef pcn pcn-apply
_pcn() {
    local verb=apply
    if [[ $service == pcn ]]; then
        if (( CURRENT == 2 )); then
            local -a verbs=(
@VERBS@
            )
            _describe 'verb' verbs
            return
        fi
        verb=$words[2]
        shift words
        (( CURRENT-- ))
    fi
    case $verb in
@WORDS@
    esac
}
_pcn "$@\""""


def zsh(verbs: Sequence[Verb]) -> str:
    listed = [f"                {_zsh(f'{verb.name}:{verb.about}')}" for verb in verbs]
    words = []
    for verb in verbs:
        specs = [spec for option in verb.options for spec in _zsh_option(option)]
        specs += [_zsh(f"*:argument:({' '.join(verb.words)})")] if verb.words else ["'*:file:_files'"] if verb.files else []
        words.append(f"        {verb.name}) _arguments {' '.join(specs)} ;;")
    return _ZSH.replace("@VERBS@", "\n".join(listed)).replace("@WORDS@", "\n".join(words))


def _zsh_option(option: Option) -> Iterator[str]:
    about = option.about.replace("[", "(").replace("]", ")").replace(":", " -")
    tail = {"": "", "words": f":value:({' '.join(option.words)})", "directory": ":directory:_files -/", "value": ":value: "}[
        option.takes
    ]
    for name in option.names:
        yield _zsh(f"{name}[{about}]{tail}")


def _zsh(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish(verbs: Sequence[Verb]) -> str:
    lines = ["# fish completion for pcn and pcn-apply", "complete -c pcn -f"]
    lines += [f"complete -c pcn -n __fish_use_subcommand -a {verb.name} -d {_fish(verb.about)}" for verb in verbs]
    for verb in verbs:
        heads = [f"complete -c pcn -n '__fish_seen_subcommand_from {verb.name}'"] + (
            ["complete -c pcn-apply"] if verb.name == "apply" else []
        )
        for head in heads:
            lines += [f"{head} {_fish_option(option)}" for option in verb.options]
            lines += [f"{head} -F"] if verb.files else []
            lines += [f"{head} -a {_fish(' '.join(verb.words))}"] if verb.words else []
    return "\n".join(lines)


def _fish_option(option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    takes = {
        "": "",
        "words": f" -x -a {_fish(' '.join(option.words))}",
        "directory": " -x -a '(__fish_complete_directories)'",
        "value": " -x",
    }[option.takes]
    return f"{names}{takes} -d {_fish(option.about)}"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
