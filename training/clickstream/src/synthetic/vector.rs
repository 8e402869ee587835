//! Latent vectors: 16 numbers of length 1.

use super::draws::Draws;

/// Numbers in a latent vector.
pub const LATENT: usize = 16;

/// A direction among items and tastes, of length 1.
pub type Vector = [f32; LATENT];

/// ⟨a, b⟩, which is the cosine for unit vectors.
pub(super) fn dot(a: &Vector, b: &Vector) -> f64 {
    f64::from(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>())
}

/// A direction drawn uniformly.
pub(super) fn direction(draws: &mut Draws) -> Vector {
    unit(std::array::from_fn(|_| draws.normal() as f32))
}

/// The weighted sum of `parts`, at length 1.
pub(super) fn blend(parts: &[(f32, &Vector)]) -> Vector {
    unit(std::array::from_fn(|i| parts.iter().map(|(weight, vector)| weight * vector[i]).sum()))
}

fn unit(vector: Vector) -> Vector {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.map(|x| x / length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::draws::Domain;

    #[test]
    fn blends_have_length_one_and_lean_to_the_heavier_part() {
        let draws = &mut Draws::at(1, Domain::Direction, &[]);
        let (a, b) = (direction(draws), direction(draws));
        let c = blend(&[(0.8, &a), (0.2, &b)]);
        for vector in [a, b, c] {
            assert!((dot(&vector, &vector) - 1.0).abs() < 1e-5);
        }
        assert!(dot(&a, &c) > dot(&b, &c));
    }
}
