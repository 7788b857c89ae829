"""Train the digits classifier, export it to ONNX and describe it in model.json.

    python -m pip install numpy==2.4.6 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.31.1
    python train.py

It writes model.onnx, model.json and images/ beside this file. The data comes with scikit-learn, so nothing is
downloaded. Every random choice has a fixed seed: with the versions above, a second run changes no byte.
"""

import hashlib
import json
import secrets
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

FOLDER = Path(__file__).resolve().parent
MODEL = FOLDER / "model.onnx"
DESCRIPTION = FOLDER / "model.json"
IMAGES = FOLDER / "images"

SEED = 0
TRAINED_AT = "2026-11-22T12:00:00Z"  # fixed, so that training again gives the same model.json
REQUIRED_ACCURACY = 0.97
BRIGHTEST = 16  # the data set's pixels are integers from 0 to 16


def main():
    train_images, test_images, train_labels, test_labels = split_digits()
    classifier = fit(train_images, train_labels)
    model = to_onnx(classifier)

    # Measured on the exported bytes, because they are what will be served.
    predicted = predict(model, test_images)
    accuracy = float(np.mean(predicted == test_labels))
    if accuracy < REQUIRED_ACCURACY:
        raise SystemExit(f"test accuracy {accuracy:.2%} is under {REQUIRED_ACCURACY:.1%}: nothing was written")

    description = describe(model, accuracy, train_images, train_labels)
    MODEL.write_bytes(model)
    DESCRIPTION.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    write_images(test_images, test_labels, right=predicted == test_labels)
    check_images()
    print(f"{MODEL.name}: {len(model)} bytes, test accuracy {accuracy:.2%} on {len(test_labels)} images")


def split_digits():
    """Three quarters to train on; the test quarter is never trained on, and every digit has its share of both."""
    digits = load_digits()
    return train_test_split(digits.data, digits.target, test_size=0.25, stratify=digits.target, random_state=SEED)


def fit(images, labels):
    images, labels = with_shifts(images, labels)
    classifier = MLPClassifier(
        hidden_layer_sizes=(128,),
        activation="relu",
        alpha=0.01,
        batch_size=64,
        learning_rate_init=0.002,
        max_iter=500,
        random_state=SEED,
    )
    return classifier.fit(images / BRIGHTEST, labels)


def with_shifts(images, labels):
    """Add each image moved by one pixel up, down, left and right: people do not write in the exact centre."""
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]
    shifted = [padded[:, top : top + 8, left : left + 8].reshape(-1, 64) for top, left in corners]
    return np.concatenate(shifted), np.tile(labels, len(corners))


def to_onnx(classifier):
    """The network as ONNX bytes: it takes the pixels as they are in the data set and scales them itself."""
    (hidden_weights, output_weights), (hidden_bias, output_bias) = classifier.coefs_, classifier.intercepts_
    constants = {
        "brightest": np.array(BRIGHTEST),
        "hidden_weights": hidden_weights,
        "hidden_bias": hidden_bias,
        "output_weights": output_weights,
        "output_bias": output_bias,
    }
    nodes = [
        helper.make_node("Div", ["image", "brightest"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "hidden_weights", "hidden_bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["activated"]),
        helper.make_node("Gemm", ["activated", "output_weights", "output_bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        outputs=[
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ],
        initializer=[numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def predict(model, images):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (labels,) = session.run(["label"], {"image": np.asarray(images, dtype=np.float32)})
    return labels


def describe(model, accuracy, train_images, train_labels):
    """What model.json says: who answers for the model, where it may run, and what it was made from."""
    return {
        "name": "digits",
        "version": "1.0.0",
        "task": "image-classification",
        "org": "acme",
        "environment": "production",
        "sensitivity": "public",
        "accuracy": round(accuracy, 4),
        "trained_by": "ann@acme.example",
        "trained_at": TRAINED_AT,
        "training_data": [
            {"name": "digits/train/images", "digest": {"sha256": sha256(train_images.astype("<f8").tobytes())}},
            {"name": "digits/train/labels", "digest": {"sha256": sha256(train_labels.astype("<i8").tobytes())}},
        ],
        "code": {"name": "train.py", "digest": {"sha256": sha256(Path(__file__).read_bytes())}},
        "nonce": nonce_for(model),
    }


def nonce_for(model):
    """32 random bytes keep the digest of model.json from being guessed; they change only when the model does."""
    if MODEL.exists() and DESCRIPTION.exists() and MODEL.read_bytes() == model:
        return json.loads(DESCRIPTION.read_text(encoding="utf-8"))["nonce"]
    return secrets.token_hex(32)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write_images(images, labels, right):
    """Twenty test images that the model gets right: 00 to 09 show the digits 0 to 9, and so do 10 to 19."""
    IMAGES.mkdir(exist_ok=True)
    for digit in range(10):
        for row, index in enumerate(np.flatnonzero(right & (labels == digit))[:2]):
            path = IMAGES / f"{row}{digit}.json"
            path.write_text(inference_request(images[index], digit), encoding="utf-8")


def inference_request(image, label):
    """The label and a request body of the Open Inference Protocol v2, laid out so that the digit can be seen."""
    rows = (", ".join(f"{pixel:2.0f}" for pixel in row) for row in image.reshape(8, 8))
    pixels = ",\n          ".join(rows)
    return f"""{{
  "label": {label},
  "request": {{
    "inputs": [
      {{
        "name": "image",
        "shape": [1, 64],
        "datatype": "FP32",
        "data": [
          {pixels}
        ]
      }}
    ]
  }}
}}
"""


def check_images():
    """Read back what was written, as a client would: the model must give each image the label in its file."""
    model = MODEL.read_bytes()
    files = sorted(IMAGES.glob("*.json"))
    if len(files) != 20:
        raise SystemExit(f"{IMAGES.name} holds {len(files)} files instead of 20")
    for file in files:
        example = json.loads(file.read_text(encoding="utf-8"))
        (image,) = example["request"]["inputs"]
        (label,) = predict(model, np.reshape(image["data"], image["shape"]))
        if label != example["label"]:
            raise SystemExit(f"{file.name} shows a {example['label']}, but the model says {label}")


if __name__ == "__main__":
    main()
