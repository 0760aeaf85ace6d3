"""The data that a fresh machine makes for itself: real compositions, audio rendered by software.

The way of a clip, one module each:

repertoires   the corpus of music21 -> which excerpts of which pieces stand for which genre
musicxml      a MusicXML file -> notes
tunebook      a tune in ABC -> notes, repeats played
notes         notes of a whole piece -> notes of one excerpt
rendering     notes -> MIDI -> 48 kHz stereo -> equal level -> MP3
building      excerpts -> data/<dataset>/<genre>/*.mp3
    folders       when such a folder is whole, and its tracks.csv
soundtracks   optional: recorded game music that a Debian user can fetch
"""
