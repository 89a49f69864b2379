"""The plugin's image can be made, and fits the plugin."""

from cni_plugin.image.file import built, fits


def test_an_image_holds_the_whole_plugin() -> None:
    assert fits(built())
