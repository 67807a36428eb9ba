"""The seven models that the sample backend offers and the database knows."""

from collections.abc import Mapping, Sequence

from sidecar.domain.check import JSON


def supported_models() -> Sequence[Mapping[str, JSON]]:
    """Return the models in the shape of velro's `/api/v1/generations/models/supported`."""
    return [
        _model("fal-ai/flux-pro/v1.1-ultra", "Flux Pro 1.1 Ultra", "image", 50),
        _model("fal-ai/imagen4/preview/ultra", "Imagen 4 Ultra", "image", 60),
        _model("fal-ai/ideogram/v3", "Ideogram 3", "image", 40),
        _model("fal-ai/veo3", "Veo 3", "video", 500),
        _model("fal-ai/kling-video/v2.1/master/text-to-video", "Kling 2.1 Master", "video", 350),
        _model("fal-ai/minimax/hailuo-02/pro/text-to-video", "Hailuo 02 Pro", "video", 300),
        _model("fal-ai/wan-pro/text-to-video", "Wan Pro", "video", 200),
    ]


def _model(model_id: str, name: str, kind: str, credit_price: int) -> Mapping[str, JSON]:
    image = kind == "image"
    return {
        "model_id": model_id,
        "name": name,
        "type": kind,
        "credits": credit_price,
        "max_resolution": "2048x2048" if image else "1080p",
        "supported_formats": ["png", "jpeg"] if image else ["mp4"],
        "description": f"Makes {'images' if image else 'videos'} from a prompt",
        "endpoint": model_id,
        "parameters": {"prompt": "string"},
        "example_params": {"prompt": "a lighthouse in the fog"},
    }
