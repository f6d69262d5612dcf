"""Make the small picture files of this folder and what they decode to (needs Pillow)."""
import io
import os
import struct

from PIL import Image, ImageDraw, ImageSequence

HERE = os.path.dirname(os.path.abspath(__file__))


def frames(n, size=(37, 23)):
    out = []
    for i in range(n):
        im = Image.new("RGBA", size, (0, 0, 0, 0))
        d = ImageDraw.Draw(im)
        d.rectangle((2 + 3 * i, 3, 12 + 3 * i, 14), fill=(200, 40 * i % 256, 30, 255))
        d.ellipse((20, 4 + i, 33, 18 + i), fill=(10, 90, 220, 255))
        out.append(im)
    return out


def raw(path, data):
    im = Image.open(io.BytesIO(data))
    with open(path, "wb") as f:
        for fr in ImageSequence.Iterator(im):
            f.write(fr.convert("RGBA").tobytes())


def save(name, data):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)


def main():
    fs = frames(5)
    for disposal in (1, 2):
        b = io.BytesIO()
        fs[0].save(b, "GIF", save_all=True, append_images=fs[1:], duration=[40, 50, 60, 70, 80],
                   loop=0, disposal=disposal)
        save(f"dispose{disposal}.gif", b.getvalue())
        raw(os.path.join(HERE, f"dispose{disposal}.rgba"), b.getvalue())
    g = Image.radial_gradient("L").resize((64, 48)).convert("P")
    b = io.BytesIO()
    g.save(b, "GIF", interlace=1)
    save("interlaced.gif", b.getvalue())
    raw(os.path.join(HERE, "interlaced.rgba"), b.getvalue())
    b = io.BytesIO()
    fs[0].save(b, "WEBP", save_all=True, append_images=fs[1:], duration=[40, 50, 60, 70, 80],
               lossless=True, exact=True)
    save("anim.webp", b.getvalue())
    raw(os.path.join(HERE, "anim.rgba"), b.getvalue())
    photo = Image.radial_gradient("L").resize((40, 30)).convert("RGB")
    for name, kw in (("gray.png", {}), ("gray.jpg", {"quality": 90}), ("interlace.png", {})):
        b = io.BytesIO()
        im = photo.convert("L") if name.startswith("gray") else photo
        im.save(b, "JPEG" if name.endswith("jpg") else "PNG", **kw)
        save(name, b.getvalue())
    b = io.BytesIO()
    photo.save(b, "JPEG", quality=85, progressive=True)
    save("progressive.jpg", b.getvalue())
    # 1 KiB that claims 2^31 - 1 pixels a side.
    import zlib
    ihdr = struct.pack(">IIBBBBB", 0x7fffffff, 0x7fffffff, 8, 6, 0, 0, 0)
    chunk = b"IHDR" + ihdr
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    save("huge.png", png.ljust(1024, b"\0"))


if __name__ == "__main__":
    main()
