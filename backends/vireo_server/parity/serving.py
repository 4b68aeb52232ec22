# SPDX-License-Identifier: MIT
"""The frames that a service feeds its network, made in this process by the stages' own code, and the network's
answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from vireo_kernels.color import frames_to_rgb
from vireo_kernels.filters import Filter
from vireo_kernels.fit import fit_exact
from vireo_kernels.resize import resize_image
from vireo_media.container import MediaSource, read_packets
from vireo_media.probing import probe

from vireo_server.decoded_picture import Picture, layout_of, write_row
from vireo_server.decoder import Decoder
from vireo_server.errors import BadInput
from vireo_server.formats import Color, frame_shape
from vireo_server.inference import load_network, read_network_settings
from vireo_server.parity.pipelines import Picture as Pixels
from vireo_server.parity.pipelines import Size
from vireo_server.runtimes import Runtime
from vireo_server.tags import color_spec, resolve


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The serving side of a comparison.

    `size` is (width, height) where the service resizes, None where it does not; `filter_name` and `antialias` choose
    the family of `vireo_kernels.resize`. `network` is asked with the frames of both sides, if there is one.
    """

    size: Size | None = None
    filter_name: Filter = "bilinear"
    antialias: bool = True
    network: Runtime | None = None

    @classmethod
    def of_service(cls, repository: Path, service: str) -> Serving:
        """What `service` of a model repository does. Raises BadInput when there is no such service."""
        folder = repository / f"{service}_network"
        config = folder / "config.pbtxt"
        if not config.is_file():
            services = sorted(path.name.removesuffix("_network") for path in repository.glob("*_network"))
            raise BadInput(
                f"there is no service {service!r} with a network of its own in {str(repository)!r}; there are "
                f"{', '.join(services) or 'none'}",
                stage="parity",
            )
        settings = read_network_settings(config)
        return cls(network=load_network(settings, folder / "1" / settings.file))

    def frames(self, path: str) -> Iterator[Pixels]:
        """Every frame of a video as the network gets it, `(H, W, 3) uint8` RGB. Raises InputError, BadInput."""
        source = MediaSource(path)
        description = probe(source).description
        decoder = Decoder(description, threads=1)
        color = resolve(description.color, width=description.width, height=description.height, codec=description.codec)
        for packet in read_packets(source):
            for picture in decoder.decode(packet.data, np.array(packet[1:], np.int64)):
                yield self._convert(picture, color)
        for picture in decoder.flush():
            yield self._convert(picture, color)

    def answers(self, pictures: list[Pixels]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        """The network's output for each picture; empty without a network."""
        if self.network is None:
            return []
        planar = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
        return list(next(iter(self.network.run([planar]))))

    def _convert(self, picture: Picture, color: Color) -> Pixels:
        frame = picture.frame
        assert isinstance(frame, av.VideoFrame), "only a decoder that is given NVDEC gives anything else"
        layout, _ = layout_of(frame.format.name)
        row = np.empty(frame_shape(width=frame.width, height=frame.height, pixel_format=layout), np.uint8)
        write_row(frame, row)
        rgb = frames_to_rgb(
            row[np.newaxis],
            width=frame.width,
            height=frame.height,
            pixel_format=layout,
            color=color_spec(color, stage="parity"),
            layout="interleaved",
        )
        if self.size is not None:
            fit = fit_exact(width=self.size[0], height=self.size[1])
            rgb = resize_image(
                rgb, fit=fit, filter_name=self.filter_name, antialias=self.antialias, layout="interleaved"
            )
        pixels: Pixels = rgb[0]
        return pixels
