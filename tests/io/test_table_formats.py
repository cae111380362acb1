"""The content of a file says what it is, and not its name."""

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from starjax.io import tables

LIST = Table({"ra": [10.5, 11.5], "dec": [1.5, 2.5]})


def written(kind):
    file = io.StringIO() if kind.startswith("ascii") else io.BytesIO()
    LIST.write(file, format=kind)
    return file.getvalue().encode() if isinstance(file, io.StringIO) else file.getvalue()


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.spreadsheet")
    return file.getvalue()


@pytest.mark.parametrize("name", ["list", "list.csv", "list.fits", "list.xml", "list.ecsv", "list.gz"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_names_of_files_do_not_matter(tmp_path, name, compress):
    for kind in ("ascii.csv", "ascii.ecsv", "ascii.mrt", "ascii.ipac", "fits", "votable"):
        (tmp_path / name).write_bytes(compress(written(kind)))
        found, _ = tables.load_table(tmp_path / name)
        assert found["ra"].astype(float).tolist() == [10.5, 11.5]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_files_of_several_compressed_parts_are_read_to_the_end(tmp_path, compress):
    """As pbzip2 and pigz write them."""
    (tmp_path / "list").write_bytes(compress(b"ra,dec\n1,2\n") + compress(b"3,4\n"))
    assert len(tables.load_table(tmp_path / "list")[0]) == 2
    (tmp_path / "list").write_bytes(compress(b"ra,dec\n1,2\n")[:-6])
    with pytest.raises(tables.FileError, match=r"cannot be read as a compressed file.*is it complete"):
        tables.load_table(tmp_path / "list")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"Excel \(.xls\).*save it as CSV"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), r"Excel \(.xlsx\).*save it as CSV"),
        (zipped("mimetype", "content.xml"), "LibreOffice.*save it as CSV"),
        (zipped("ra.npy"), r"archive of numpy.*in Python"),
        (zipped("members.csv"), "a zip archive, .*unpack it"),
        (b"\x89HDF\r\n\x1a\n", "HDF5.*in Python"),
        (pickle.dumps([1]), "a pickle.*in Python"),
        (b"\x93NUMPY\1\0", "an array of numpy"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"{\\rtf1\\ansi", "RTF.*plain text"),
        (b'{"metadata": []}', "JSON"),
        (b'[\n {"ra": 1}]', "JSON"),
        (
            b"\n<!DOCTYPE html>\n<html><body>404 <VOTABLE></body></html>",
            "a web page.*download the table again",
        ),
        (b'<?xml version="1.0"?>\n<HTML lang="en">', "a web page"),
        (b'<?xml version="1.0"?>\n<kml/>', "XML, and not a VOTable"),
        (b"% a paper\n\\begin{deluxetable}{cc}\n", "LaTeX"),
        (b"\x28\xb5\x2f\xfd", "Zstandard.*decompress it first"),
    ],
)
def test_other_formats_are_named(tmp_path, content, said):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(tables.FileError, match=said):
        tables.load_table(tmp_path / "list.csv")


@pytest.mark.parametrize("text", ["[Fe/H],ra,dec\n1,2,3\n", "<V>,ra,dec\n1,2,3\n", "PK,ra,dec\n1,2,3\n"])
def test_text_that_begins_like_other_formats(tmp_path, text):
    (tmp_path / "list").write_text(text)
    assert np.asarray(tables.load_table(tmp_path / "list")[0]["dec"]).tolist() == [3]


@pytest.mark.parametrize("address", ["https://x.org/a.csv", "vos:a/b.csv", "s3://a/b.csv"])
def test_addresses_are_refused(address):
    with pytest.raises(tables.FileError, match="download it first"):
        tables.load_table(Path(address))
