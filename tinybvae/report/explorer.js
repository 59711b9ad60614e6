// The page's explorer: encoder and decoder in the browser, to drag a latent and see what changes, or a sprite and see
// which latents move. It reads what page.py wrote into the page, and loads nothing.

(() => {  // a notebook may show several pages: nothing here has a name outside
"use strict";

// The network. Images are Float32Arrays, row by row, channels last; `shape` is [height, width, channels], or [units].

// A layer's weights, as page.py packs them: integers of 24 bits, times a scale for each column, which is the last axis.
function unpack(layer) {
  const bytes = bytesOf(layer.packed), {columns, biases} = layer;
  const scale = new Float32Array(bytes.buffer, 0, columns), bias = new Float32Array(bytes.buffer, 4 * columns, biases);
  const start = 4 * (columns + biases), count = (bytes.length - start) / 3;
  const upper = new Int16Array(bytes.buffer, start, count), lower = bytes.subarray(start + 2 * count);
  const weight = new Float32Array(count);
  for (let i = 0; i < count; i++) weight[i] = (256 * upper[i] + lower[i]) * scale[i % columns];
  return {...layer, bias, weight};
}

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// The three loops of convolution.py that a forward pass needs, in the code's own letters: sides H and W of the small
// image, O its channels, C the big one's; p and q are the taps, 0 to 3, of a big image with a border of one pixel.

function linear(x, {weight, bias}) {            // y[o] = b[o] + Σᵢ x[i] W[i,o]
  const O = bias.length, y = Float32Array.from(bias);
  for (let i = 0; i < x.length; i++)
    if (x[i] !== 0) for (let o = 0; o < O; o++) y[o] += x[i] * weight[i * O + o];
  return y;
}

function eachTap(H, W, visit) {                 // small pixel, big pixel and tap of everything that meets
  for (let i = 0; i < H; i++) for (let p = 0; p < 4; p++) {
    const row = 2 * i + p - 1;
    if (row < 0 || row >= 2 * H) continue;
    for (let j = 0; j < W; j++) for (let q = 0; q < 4; q++) {
      const column = 2 * j + q - 1;
      if (column >= 0 && column < 2 * W) visit(i * W + j, row * 2 * W + column, 4 * p + q);
    }
  }
}

function conv2d(big, {weight, bias}, [H2, W2, C]) {                  // small[i,j,o] += big[2i+p,2j+q,c] w[p,q,c,o]
  const [H, W, O] = [H2 / 2, W2 / 2, bias.length], small = new Float32Array(H * W * O);
  for (let n = 0; n < small.length; n++) small[n] = bias[n % O];
  eachTap(H, W, (s, b, tap) => {
    for (let c = 0; c < C; c++) {
      const x = big[b * C + c], w = (tap * C + c) * O;
      if (x !== 0) for (let o = 0; o < O; o++) small[s * O + o] += x * weight[w + o];
    }
  });
  return [small, [H, W, O]];
}

function conv2dTranspose(small, {weight, bias}, [H, W, O]) {         // big[2i+p,2j+q,c] += small[i,j,o] w[p,q,c,o]
  const C = bias.length, big = new Float32Array(4 * H * W * C);
  for (let n = 0; n < big.length; n++) big[n] = bias[n % C];
  eachTap(H, W, (s, b, tap) => {
    for (let c = 0; c < C; c++) {
      const w = (tap * C + c) * O;
      let sum = 0;
      for (let o = 0; o < O; o++) sum += small[s * O + o] * weight[w + o];
      big[b * C + c] += sum;
    }
  });
  return [big, [2 * H, 2 * W, C]];
}

// What layers.py and vae.py call by these names: x and its shape, to y and its shape.
const LAYERS = {
  Linear: (x, layer) => [linear(x, layer), [layer.bias.length]],
  Conv2d: conv2d,
  ConvTranspose2d: conv2dTranspose,
  ReLU: (x, {negative_slope: slope}, shape) => [x.map(value => value > 0 ? value : slope * value), shape],
  Tanh: (x, layer, shape) => [x.map(Math.tanh), shape],
  Reshape: (x, layer) => [x, layer.shape],
};

function run(network, x, shape) {
  for (const layer of network) [x, shape] = LAYERS[layer.kind](x, layer, shape);
  return x;
}

// The renderer of dsprites/sprites.py: a polygon, scaled, turned and moved, filled by the even-odd rule.

function render({outlines, size, grid}, [shape, scale, orientation, x, y]) {
  const [cosine, sine] = [scale * Math.cos(orientation), scale * Math.sin(orientation)];
  const centre = place => size * (.25 + .5 * place) - .5;            // pixels' centres are whole numbers
  const turn = ([u, v]) => [centre(x) + cosine * u + sine * v, centre(y) - sine * u + cosine * v];
  const vertices = outlines[shape].map(turn).map(
    vertex => vertex.map(place => roundHalfEven(grid * place) / grid));
  const image = new Float32Array(size * size);
  vertices.forEach(([xb, yb], n) => {
    const [xa, ya] = vertices.at(n - 1);
    const [low, high] = [ya, yb].sort((a, b) => a - b).map(end => Math.min(size, Math.max(0, Math.floor(end) + 1)));
    for (let row = low; row < high; row++) {                         // it crosses this row left of this column
      const column = Math.max(0, Math.ceil((xa * (yb - ya) + (row - ya) * (xb - xa)) / (yb - ya)));
      if (column < size) image[row * size + column] = 1 - image[row * size + column];
    }
  });
  for (let n = 0; n < image.length; n++) if (n % size) image[n] = Math.abs(image[n] - image[n - 1]);
  return image;
}

function roundHalfEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === .5 && rounded % 2 ? rounded - 1 : rounded;
}

// The page.

const REACH = 3, PICTURES = 11;                                      // a traversal, from −3 to 3
const PIXEL = {                                                      // of the decoder's output, by likelihood
  bernoulli: logit => 1 / (1 + Math.exp(-logit)),
  gaussian: mean => Math.min(Math.max(mean, 0), 1)};

function explore(root) {
  const page = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const [encoder, decoder] = [page.encoder, page.decoder].map(
    layers => layers.map(layer => layer.packed ? unpack(layer) : layer));
  const [height, width, channels] = page.shape, D = page.order.length;
  const find = id => root.querySelector(`#${id}`);

  const encode = x => {
    const code = run(encoder, Float32Array.from(x), page.shape);
    return {mean: code.slice(0, D), logvar: code.slice(D)};
  };
  const decode = z => run(decoder, Float32Array.from(z), [D]).map(PIXEL[page.likelihood]);
  window.tinybvae = {latents: D, shape: page.shape, encode, decode, render: values => render(page.sprite, values)};

  const starts = page.starts.map(start => Float32Array.from(bytesOf(start), byte => byte / 255));
  const state = {z: new Float32Array(D), rested: null};              // the latents that are decoded; at the last rest

  // Images, from 0 to 1, into a canvas, side by side; without three channels for the colours, in grays.
  function paint(canvas, images) {
    [canvas.width, canvas.height] = [width * images.length, height];
    const context = canvas.getContext("2d"), data = context.createImageData(width, height);
    images.forEach((image, n) => {
      for (let pixel = 0; pixel < width * height; pixel++) {
        const values = image.subarray(pixel * channels, (pixel + 1) * channels);
        const gray = values.reduce((sum, value) => sum + value) / channels;
        for (let c = 0; c < 3; c++) data.data[4 * pixel + c] = 255 * (channels === 3 ? values[c] : gray);
        data.data[4 * pixel + 3] = 255;
      }
      context.putImageData(data, n * width, 0);
    });
  }

  // A row a latent: its traversal, a slider below it, and what the encoder says of x: the mean, ± a standard deviation.
  const rows = page.order.map(d => {
    const row = find(`latent${d}`), part = name => row.querySelector(name);
    const [strip, slider, value, spread] = ["canvas", "input", "output", ".spread"].map(part);
    slider.addEventListener("input", () => {
      state.z[d] = slider.value;
      show();
    });
    const on = part("button"), start = on ? Number(on.dataset.start) : page.first;
    on?.addEventListener("click", () => begin(start));
    return {d, row, strip, slider, value, spread, start};
  });
  const valueOf = picture => REACH * (2 * picture / (PICTURES - 1) - 1);
  const place = value => `${50 + 50 * Math.max(-1, Math.min(1, value / REACH))}%`;

  function show() {
    paint(find("decoded"), [decode(state.z)]);
    for (const {d, slider, value} of rows) {
      slider.value = state.z[d];
      value.textContent = (Math.round(100 * state.z[d]) / 100 || 0).toFixed(2).replace("-", "−");  // never −0
    }
  }

  // A new x: where its latents are, and how far each has moved since the last one rested. Traversals, which take
  // longer, follow when this one rests: from it, or, `first`, from the start on which the latent does most.
  let resting = 0;
  function look(x, z, first = false) {
    const code = x && encode(x);
    state.z = x ? code.mean : z;
    if (x) paint(find("encoded"), [x]);
    find("encoded").classList.toggle("none", !x);
    for (const {d, row, spread} of rows) {
      row.style.setProperty("--moved", Math.min(1, Math.abs(state.z[d] - (state.rested || state.z)[d])));
      spread.hidden = !x;
      if (x) {
        const sigma = Math.exp(code.logvar[d] / 2);
        spread.style.left = place(code.mean[d] - sigma);
        spread.style.right = `calc(100% - ${place(code.mean[d] + sigma)})`;
      }
    }
    show();
    clearTimeout(resting);
    resting = setTimeout(() => {
      state.rested = state.z.slice();
      traverse(first ? entry => encode(starts[entry.start]).mean : () => state.rested, rows.slice());
    }, 250);
  }

  function traverse(from, left) {                                    // one row, then let the browser breathe
    const entry = left.shift();
    if (!entry) return;
    const z = from(entry);
    paint(entry.strip, Array.from({length: PICTURES}, (_, picture) => {
      const at = z.slice();
      at[entry.d] = valueOf(picture);
      return decode(at);
    }));
    resting = setTimeout(() => traverse(from, left));
  }

  // Where x comes from: an image of the data, the prior, or, if the data are sprites, the visitor.
  const inputs = page.factors ? ["shape", "scale", "orientation", "x", "y"].map(name => find(`sprite-${name}`)) : [];
  function begin(n, first) {
    inputs.forEach((input, factor) => { input.value = page.factors[n][factor]; });
    look(starts[n], null, first);
  }
  starts.forEach((x, n) => {
    paint(find(`start${n}`).querySelector("canvas"), [x]);
    find(`start${n}`).addEventListener("click", () => begin(n));
  });
  find("prior").addEventListener("click", () => look(null, Float32Array.from({length: D}, normal)));
  find("reset").addEventListener("click", () => begin(page.first, true));

  if (page.factors) {
    const draw = () => look(render(page.sprite, inputs.map(input => Number(input.value))));
    for (const input of inputs) input.addEventListener("input", draw);
    const canvas = find("encoded");
    const move = event => {
      const box = canvas.getBoundingClientRect();                    // sprites' centres stay a quarter from the border
      inputs[3].value = 2 * (event.clientX - box.left) / box.width - .5;
      inputs[4].value = 2 * (event.clientY - box.top) / box.height - .5;
      draw();
    };
    canvas.addEventListener("pointerdown", event => {
      canvas.setPointerCapture(event.pointerId);
      move(event);
    });
    canvas.addEventListener("pointermove", event => canvas.hasPointerCapture(event.pointerId) && move(event));
  }
  begin(page.first, true);
}

function normal() {                                                  // Box and Muller 1958
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

for (const root of document.querySelectorAll(".tinybvae:not(.alive):has(script[type='application/json'])")) {
  root.classList.add("alive");
  explore(root);
}
})();
