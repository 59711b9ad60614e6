"""A film of training: every so many steps a frame, in which each latent is moved from −3 to 3."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from tinybvae.data.files import write_atomically
from tinybvae.report.figures import GIF_MS, LABEL, caption, shades, strip
from tinybvae.report.latents import USUAL, starts


class Film:
    """Frames in `folder`/film, one each `every` steps, by number of the step: a run that is resumed goes on with them.

    The others of a row's latents are at the posterior mean of one image, the same in all frames.
    """

    def __init__(self, folder, every, data):
        self.folder, self.every = Path(folder) / "film", every
        begun = starts(data)
        self.image = data.images(begun[[USUAL if len(begun) > 1 else 0]])

    def __call__(self, run):
        """Take a frame, if one is due at this step."""
        if run.step % self.every:
            return
        mean = run.model.encode(self.image)[0][0]
        rows = [np.concatenate(strip(run.model, mean, d), axis=1) for d in range(run.model.latents)]
        frame = np.pad(np.concatenate(rows), ((LABEL, 0), (0, 0), (0, 0)))
        frame[:LABEL] = caption(f"step {run.step:,}", frame.shape[1])[..., None]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / f"{run.step:09}.png",
                         imageio.imwrite("<bytes>", shades(frame), extension=".png"))

    def write(self, run):
        """Put the frames up to this run's step into film.gif, beside their folder."""
        frames = [imageio.imread(file) for file in sorted(self.folder.glob("*.png"))
                  if int(file.stem) <= run.step and int(file.stem) % self.every == 0]
        if frames:
            write_atomically(self.folder.parent / "film.gif", imageio.imwrite(
                "<bytes>", frames, extension=".gif", duration=GIF_MS, loop=0))
