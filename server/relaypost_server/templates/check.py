"""Reads templates and finds every mistake in them, before the first message needs one."""

from collections.abc import Iterator
from pathlib import Path

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes

from relaypost_server.settings import Problem, SettingsError
from relaypost_server.templates.catalog import DECLARATION, Template, read_catalog
from relaypost_server.templates.declaration import RESERVED
from relaypost_server.templates.files import problem, read_files
from relaypost_server.templates.language import CALLABLE, Sandbox, mistakes, references
from relaypost_server.templates.locales import Choice
from relaypost_server.templates.render import FillError, Templates

BUILT_IN = Path(__file__).parent / "builtin"
"""The templates that come with the gateway."""
DIRECTORY = "RELAYPOST_TEMPLATES_DIR"
_TOO_DEEP = "holds too many things within one another"


def gateway_templates(directory: Path | None, default_locale: str) -> Templates:
    """As `open_templates`, but the built-in templates by themselves are not checked: the tests do, before a release.

    They are compiled by `Templates.warm_up`, or when they are first filled in. Raises SettingsError.
    """
    if directory is not None:
        return open_templates(directory, default_locale)
    templates, problems = _read(None, default_locale, BUILT_IN)
    if problems:
        raise SettingsError(problems)
    return templates


def open_templates(directory: Path | None, default_locale: str, *, built_in: Path = BUILT_IN) -> Templates:
    """The built-in templates, overlaid file by file with those of a directory, all of them checked.

    Raises SettingsError with every mistake that was found.
    """
    templates, problems = _read(directory, default_locale, built_in)
    problems += _Checker(templates).problems()
    if problems:
        raise SettingsError(dict.fromkeys(problems))  # A shared file is at fault in every language.
    return templates


def _read(directory: Path | None, default_locale: str, built_in: Path) -> tuple[Templates, list[Problem]]:
    files, problems = read_files(built_in)
    if directory is not None:
        if not directory.is_dir():
            fix = "Correct the path, or unset it."
            raise SettingsError([Problem(setting=DIRECTORY, what="names no directory", fix=fix)])
        own, mistakes_of_own = read_files(directory)
        files |= own
        problems += mistakes_of_own
    catalog, misplaced = read_catalog(files, default_locale)
    return Templates(catalog, Sandbox(files)), [*problems, *misplaced]


class _Checker:
    """Looks through files one by one, then at each template as a whole."""

    def __init__(self, templates: Templates) -> None:
        self._sandbox = templates.sandbox
        self._sources = {path: text for path, text in self._sandbox.files.items() if not path.endswith(DECLARATION)}
        self._templates = templates
        self._trees: dict[str, nodes.Template] = {}
        self._broken: set[str] = set()

    def problems(self) -> list[Problem]:
        found = [self._broken_file(path, *mistake) for path in self._sources for mistake in self._look_at(path)]
        for template in self._templates.by_name.values():
            found += self._undeclared(template)
            found += self._samples(template)
        return found

    def _broken_file(self, path: str, line: int | None, what: str) -> Problem:
        self._broken.add(path)
        return problem(path, line, what)

    def _look_at(self, path: str) -> Iterator[tuple[int | None, str]]:
        """Mistakes that a file makes by itself."""
        try:
            tree = self._sandbox.parse(self._sources[path], filename=path)
            found = mistakes(tree, path)
        except TemplateSyntaxError as error:
            yield error.lineno, error.message or "is not a template"
            return
        except RecursionError:
            yield None, _TOO_DEEP
            return
        self._trees[path] = tree
        yield from found
        for line, name in references(tree):
            if self._sandbox.join_path(name, path) not in self._sources:
                yield line, f"uses {name}, which there is not"
        if not found:
            yield from self._compile(path)

    def _compile(self, path: str) -> Iterator[tuple[int | None, str]]:
        """Mistakes that show when a file is compiled: filters that there are not."""
        try:
            self._sandbox.get_template(path)
        except TemplateSyntaxError as error:
            yield error.lineno, error.message or "is not a template"
        except TemplateError as error:
            yield None, error.message or "is not a template"
        except (RecursionError, SyntaxError, MemoryError):  # Python's own bounds, for what Jinja makes of the file.
            yield None, _TOO_DEEP

    def _closure(self, path: str) -> set[str]:
        """The file, and all that it extends and includes."""
        found: set[str] = set()
        waiting = [path]
        while waiting:
            name = waiting.pop()
            if name in found or name not in self._trees:
                continue
            found.add(name)
            waiting += [self._sandbox.join_path(other, name) for _, other in references(self._trees[name])]
        return found

    def _undeclared(self, template: Template) -> Iterator[Problem]:
        """Variables that a template uses and does not declare."""
        allowed = RESERVED | template.declaration.variables.keys()
        paths = {path for own in _paths(template) for path in self._closure(own)}
        for path in sorted(paths - self._broken):
            tree = self._trees[path]
            for name in sorted(meta.find_undeclared_variables(tree) - allowed - CALLABLE):
                self._broken.add(path)
                what = f"uses {name}, which {template.name}/{DECLARATION} does not declare"
                yield problem(path, _first_line(tree, name), what, "Correct the name, or declare it.")

    def _samples(self, template: Template) -> Iterator[Problem]:
        """What goes wrong with the samples: with all of them, and with those alone that are required."""
        declaration = template.declaration
        for locale, parts in template.parts.items():
            choice = Choice.of(locale)
            for part in sorted(parts):
                path = template.path(locale, part)
                if self._broken & self._closure(path):
                    continue
                for values in (declaration.samples, declaration.required_samples):
                    try:
                        self._templates.fill(template, choice, part, values)
                    except FillError as error:
                        yield problem(error.place, None, error.what)
                        break


def _paths(template: Template) -> Iterator[str]:
    for locale, parts in template.parts.items():
        yield from (template.path(locale, part) for part in parts)


def _first_line(tree: nodes.Template, name: str) -> int | None:
    return min((node.lineno for node in tree.find_all(nodes.Name) if node.name == name), default=None)
