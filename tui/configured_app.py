"""Apply the settings of a person: colours, keys, and the screens that list the keys."""

from __future__ import annotations

import os

from textual import work
from textual.binding import Binding
from textual.filter import Monochrome

from tui.message_app import MessageApp
from tui.screens.dialogs.help import HelpScreen
from tui.settings.bindings import actions_on, clashes_on, readable
from tui.settings.config import DEFAULT_THEME, Config, config, remember_theme, remembered_theme
from tui.settings.stylesheet import CachedStylesheet
from tui.settings.themes import THEMES, without_colours
from tui.terminal.console import has_characters_of
from tui.terminal.driver import TerminalDriver
from tui.terminal.filters import NoColours
from tui.widgets.key_footer import KeyFooter


class ConfiguredApp(MessageApp):
    """An app with our themes and the keys of the config file. `problems` are sentences on settings not applied."""

    ENABLE_COMMAND_PALETTE = False  # Textual's; ours has an id

    def __init__(self, settings: Config | None = None) -> None:
        super().__init__(TerminalDriver)
        self.settings = settings if settings is not None else config()
        keymap, unreadable = readable(self.settings.keys)
        self.problems = [*self.settings.problems, *unreadable]
        self._set_up_colours()
        self.set_keymap(keymap)

    def problems_found(self) -> None:
        """`problems` has become longer; the app shows them."""

    def _set_up_colours(self) -> None:
        """Register our themes; with NO_COLOR (https://no-color.org) use no colour instead of Textual's greys."""
        self._filters = [NoColours() if isinstance(each, Monochrome) else each for each in self._filters]
        for theme in THEMES:
            self.register_theme(without_colours(theme) if self.no_color else theme)
        configured = self.settings.theme
        if configured and configured not in self.available_themes:
            names = ", ".join(theme.name for theme in THEMES)
            self.problems.append(
                f"config.toml sets the theme {configured!r}, which does not exist: choose one of {names}"
            )
        usable = [name for name in (configured, remembered_theme()) if name in self.available_themes]
        self.theme = usable[0] if usable else DEFAULT_THEME
        self.stylesheet = CachedStylesheet(variables=self.get_css_variables())

    def choose_theme(self, name: str) -> None:
        """Show everything in the theme `name`; the next start does too, unless the config file names another."""
        self.theme = name
        remember_theme(name)

    def check_keys(self) -> None:
        """Restore the own key of each binding on the top screen whose configured key is used by another."""
        if self.keymap:
            self.call_after_refresh(self._drop_clashes)

    def _drop_clashes(self) -> None:
        if clashes := clashes_on(self.screen, self.keymap):
            self.set_keymap({name: keys for name, keys in self.keymap.items() if name not in clashes})
            self._add_problems(list(clashes.values()))

    @work(thread=True, exit_on_error=False, group="keys")
    def find_unknown_keys(self) -> None:
        """Report keys set for actions that do not exist, in a thread: it imports every screen, which is slow."""
        from tui.keymap_table import unknown_ids

        self.call_from_thread(self._add_problems, unknown_ids(type(self), self.settings.keys))

    def _add_problems(self, sentences: list[str]) -> None:
        self.problems += [text for text in sentences if text not in self.problems]
        self.problems_found()

    def get_key_display(self, binding: Binding) -> str:
        """Return a key as the footer shows it, in words if the terminal has no sign for it."""
        shown = super().get_key_display(binding)
        return shown if has_characters_of(shown) else binding.key

    def copy_to_clipboard(self, text: str) -> None:
        """Copy `text` as Textual does, but also through tmux and GNU screen."""
        self._clipboard = text
        if self._driver is not None and not self.is_headless:
            from tui.terminal.clipboard import copy

            copy(text, self._driver.write, os.environ)

    def action_help(self) -> None:
        """Show the keys that work on the screen now; those of the footer come first, as they are used most."""
        footer = [key.action for widget in self.screen.query(KeyFooter) for key in widget.all_keys]
        most_used = {action: place for place, action in enumerate(footer)}
        groups: dict[str, list[tuple[str, str]]] = {}
        for action in sorted(actions_on(self.screen), key=lambda each: most_used.get(each.binding.action, len(footer))):
            where = "Most used" if action.binding.action in most_used else action.where
            groups.setdefault(where, []).append((action.shown_keys(self), action.explained))
        self.push_screen(HelpScreen(groups.items()))

    def action_palette(self) -> None:
        from tui.screens.dialogs.palette import Palette  # the first painted table does not wait for it

        self.push_screen(Palette())
