"""Music for eyes and ears: `draw` makes pictures, `listen` sound, by the synthesizer of `soundfont`."""
