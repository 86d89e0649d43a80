package org.javatuples;

import java.util.Objects;

/** Two values: what MultiPL-E's Java programs use of the library of this name. */
public final class Pair<A, B> {
    private final A first;
    private final B second;

    public Pair(A first, B second) {
        this.first = first;
        this.second = second;
    }

    public static <A, B> Pair<A, B> with(A first, B second) {
        return new Pair<A, B>(first, second);
    }

    public A getValue0() {
        return first;
    }

    public B getValue1() {
        return second;
    }

    public <C> Pair<C, B> setAt0(C value) {
        return new Pair<C, B>(value, second);
    }

    public <C> Pair<A, C> setAt1(C value) {
        return new Pair<A, C>(first, value);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Pair
            && Objects.equals(first, ((Pair<?, ?>) other).first)
            && Objects.equals(second, ((Pair<?, ?>) other).second);
    }

    @Override
    public int hashCode() {
        return Objects.hash(first, second);
    }

    @Override
    public String toString() {
        return "[" + first + ", " + second + "]";
    }
}
